//! Real processes, to be killed as real ones are.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use accord::embedded::tied;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const POLL: Duration = Duration::from_millis(20);

/// A child process with its log in a file; dropping it kills it.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`; its standard output and error go to `log`.
    pub(crate) fn spawn(program: &str, arguments: &[&str], log: &Path) -> Self {
        let mut command = tied::command(program, Signal::SIGKILL);
        command.args(arguments);
        without_our_configuration(&mut command);
        let output = File::create(log).expect("a log file");
        command.stdout(output.try_clone().expect("a second handle")).stderr(output);
        let child = tied::spawn(command).expect("a child process");
        Self { child, log: log.to_owned() }
    }

    /// All it has written so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("the log")).into_owned()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a power cut would, and waits for that.
    pub(crate) fn kill9(&mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("the end of a killed process");
    }

    /// Asks it to end in order. [`Self::wait`] tells how it did.
    pub(crate) fn terminate(&self) {
        kill(Pid::from_raw(self.pid().cast_signed()), Signal::SIGTERM).expect("SIGTERM");
    }

    /// Its status, once it has ended by itself.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Its status if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of a child process")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The tests say what a process is configured with, not the shell they are run from.
pub(super) fn without_our_configuration(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ACCORD__") {
            command.env_remove(name);
        }
    }
}

/// The real `accord serve`, as a child process with a configuration of its own.
pub(crate) struct Accord {
    /// To kill it, end it and read its log.
    pub(crate) process: Process,
    /// Where it answers, without a slash at the end.
    pub(crate) url: String,
    _directory: TempDir,
}

impl Accord {
    /// Starts it with `config`, the text of an `accord.toml` that has it listen on `http`, and waits until it
    /// is ready. If it ends before, or is not ready in time, the error is its log.
    pub(crate) async fn serve(config: &str, http: SocketAddr) -> Result<Self, String> {
        const DEADLINE: Duration = Duration::from_secs(30);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("accord.toml");
        fs::write(&file, config).expect("a configuration file");
        let arguments = ["serve", "--config", file.to_str().expect("a path in UTF-8")];
        let program = env!("CARGO_BIN_EXE_accord");
        let process = Process::spawn(program, &arguments, &directory.path().join("accord.log"));
        let mut accord = Self { process, url: format!("http://{http}"), _directory: directory };

        let began = Instant::now();
        while !accord.is_ready().await {
            if let Some(status) = accord.process.ended() {
                return Err(format!(
                    "accord ended before it was ready ({status}):\n{}",
                    accord.process.log()
                ));
            }
            if began.elapsed() > DEADLINE {
                return Err(format!("accord is not ready after {DEADLINE:?}:\n{}", accord.process.log()));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(accord)
    }

    /// Whether it could commit a change now.
    pub(crate) async fn is_ready(&self) -> bool {
        // Somebody else may have the port, and say nothing.
        const PATIENCE: Duration = Duration::from_secs(2);
        // A proxy from the environment has no business between two ports of this machine.
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("an HTTP client");
        client.get(format!("{}/readyz", self.url)).send().await.is_ok_and(|answer| answer.status() == 200)
    }
}
