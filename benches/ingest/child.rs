//! Child processes of the benchmark, which end with it.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Child as Process, ChildStdout, Stdio};

use accord::embedded::tied;
use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A child process; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Child(Process);

impl Child {
    /// Starts a program; what it logs goes to a file, what it prints to us.
    pub(crate) fn start<A: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let mut command = tied::command(program, Signal::SIGKILL);
        for (name, _) in std::env::vars_os() {
            // What is measured is configured here, and not in the shell it is started from.
            if name.to_string_lossy().starts_with("ACCORD_") {
                command.env_remove(name);
            }
        }
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(log)?);
        Ok(Self(tied::spawn(command).context("cannot start a child process")?))
    }

    /// Starts ourselves in another role.
    pub(crate) fn in_role<A: AsRef<OsStr>>(
        arguments: impl IntoIterator<Item = A>,
        log: &Path,
    ) -> anyhow::Result<Self> {
        Self::start(std::env::current_exe()?, arguments, log)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Asks it to end in order, and waits for that.
    pub(crate) fn terminate(&mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(self.pid().cast_signed()), Signal::SIGTERM)?;
        self.0.wait()?;
        Ok(())
    }

    /// What it prints; once.
    pub(crate) fn output(&mut self) -> anyhow::Result<ChildStdout> {
        self.0.stdout.take().context("the output is taken")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
