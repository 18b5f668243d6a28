//! Child processes that do not outlive us, not even when we are killed with `kill -9`.
//!
//! Linux signals a child when its parent dies if the child asked for that (`PR_SET_PDEATHSIG`). Two things
//! make this less simple than it sounds:
//!
//! - The child has to ask between fork and exec, which in Rust is unsafe code (`pre_exec`). util-linux has a
//!   program for it, `setpriv --pdeathsig`, that asks and then becomes the program it was given: the same
//!   process, with the same pid.
//! - For the kernel the parent is the *thread* that forked. A runtime's threads come and go, and a child of
//!   one would be signalled when that thread ends. Hence one thread that lasts as long as the process does,
//!   and forks for everybody.
//!
//! Each child leads a process group of its own: Ctrl-C in a terminal reaches us and not them, so that they
//! still serve while we drain.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::{LazyLock, mpsc};
use std::thread;

use nix::sys::signal::Signal;

type Request = (Command, mpsc::Sender<io::Result<Child>>);

/// A command for `program` that is sent `on_death` when this process ends, however it ends.
///
/// Holds on Linux only; elsewhere the child is ended by its owner's `Drop`, as long as that runs.
pub fn command(program: impl AsRef<OsStr>, on_death: Signal) -> Command {
    let mut command = if cfg!(target_os = "linux") {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", on_death.as_str(), "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.process_group(0);
    command
}

/// Starts a [`command`] from the thread that lasts as long as the process.
pub fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: LazyLock<mpsc::Sender<Request>> = LazyLock::new(start_spawner);
    let gone = || io::Error::other("the thread that starts child processes could not be started");
    let program = command.get_program().to_owned();
    let (reply, child) = mpsc::channel();
    SPAWNER.send((command, reply)).map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?.map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound && program == "setpriv" {
            io::Error::new(error.kind(), "`setpriv` is not on PATH: install util-linux")
        } else {
            error
        }
    })
}

fn start_spawner() -> mpsc::Sender<Request> {
    let (sender, requests) = mpsc::channel::<Request>();
    let work = move || {
        for (mut command, reply) in requests {
            // Nobody takes the answer only if the caller is gone, and then nobody wants the child either.
            if let Err(mpsc::SendError(Ok(mut orphan))) = reply.send(command.spawn()) {
                let _ = orphan.kill();
            }
        }
    };
    // If no thread can be had, `requests` is dropped with the closure and every `send` says so.
    let _ = thread::Builder::new().name("child-spawner".to_owned()).spawn(work);
    sender
}
