//! Programs: ours and others, run to their end.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// The program under test.
pub const MAILROOT: &str = env!("CARGO_BIN_EXE_mailroot");

/// A command that runs it. `targets/build --test` has a build for another processor tested from here: it names the file in
/// `MAILROOT_BINARY`, and in `MAILROOT_RUNNER` the emulator, which the program itself asks for too when it starts itself.
pub fn program() -> Command {
    let file = std::env::var_os("MAILROOT_BINARY").unwrap_or_else(|| MAILROOT.into());
    let runner = std::env::var("MAILROOT_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    let Some(emulator) = words.next() else {
        return Command::new(file);
    };
    let mut command = Command::new(emulator);
    command.args(words).arg(file);
    command
}

/// A command of ours on the home of a service, which may be up or down.
pub fn on(home: &Path, words: &[&str]) -> Command {
    let mut command = program();
    command.args(words).arg("--home").arg(home);
    command
}

/// What such a command says; it must succeed.
pub fn ask(home: &Path, words: &[&str]) -> String {
    must(&mut on(home, words), b"")
}

/// Whether a peer is there; if not, says so where the run counts it.
pub fn have(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|dir| dir.join(program).is_file())
    });
    if !found {
        println!("skipped: {program} is not installed (tests/setup installs it)");
    }
    found
}

/// A command that also finds what Debian keeps in /usr/sbin.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// Whether services may be started that want to be root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs to the end and answers status and both outputs.
pub fn run(command: &mut Command, input: &[u8]) -> (ExitStatus, String) {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A child that does not read its input closes the pipe; that is its right.
    let _ = child.stdin.take().unwrap().write_all(input);
    let out = child.wait_with_output().unwrap();
    let text =
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status, text)
}

/// Runs and insists on success.
pub fn must(command: &mut Command, input: &[u8]) -> String {
    let (status, text) = run(command, input);
    assert!(status.success(), "{command:?}: {status}: {text}");
    text
}

/// A program that runs beside a test, and is asked to end with it: some have children, which a kill would leave behind.
pub struct Running(Child);

impl Running {
    /// Starts it with nothing to read, and what it says goes nowhere.
    pub fn start(command: &mut Command) -> Self {
        let quiet = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(quiet.spawn().unwrap())
    }

    /// The same for one that somebody else has made.
    pub fn child(child: Child) -> Self {
        Self(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}
