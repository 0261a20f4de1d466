//! Runs this very program as a service for a moment: starts it, reads what it logs, and ends it in order.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::disk::folders::Folders;
use crate::disk::submit::Submission;

/// What was to happen does not: a sentence for whoever watches.
pub type Failed = String;

/// How long a test mail may take to be heard of.
const PATIENCE: Duration = Duration::from_secs(90);

/// This program once more. Where the kernel cannot start it by itself, `MAILROOT_RUNNER` names the emulator that can,
/// with its options; `targets/run` sets it.
pub fn this_program(program: &Path) -> Command {
    let runner = std::env::var("MAILROOT_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    match words.next() {
        Some(emulator) => {
            let mut command = Command::new(emulator);
            command.args(words).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// SIGTERM and an orderly end.
pub fn stop(child: &mut Child) -> Result<(), Failed> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .map_err(|error| format!("cannot stop the service: {error}"))?;
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() {
        Ok(())
    } else {
        Err(String::from("the service did not end in order"))
    }
}

/// Sends each line of a log to whoever asked.
pub fn lines<T: Send + 'static>(
    log: impl io::Read + Send + 'static,
    news: mpsc::Sender<T>,
    item: impl Fn(String) -> T + Send + 'static,
) {
    thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            if news.send(item(line)).is_err() {
                return;
            }
        }
    });
}

/// Puts a message for `to` into the pickup folder of `home`.
pub fn submit(home: &Path, to: &str) -> io::Result<()> {
    let text = format!(
        "X-Sender: {to}\r\nX-Receiver: {to}\r\nX-Dot-Stuffed: no\r\nFrom: {to}\r\nTo: {to}\r\nSubject: mailroot works\r\n\r\n\
         This is the test mail of `mailroot init`. What this host has to say by mail reaches you.\r\n"
    );
    let mut file = Submission::begin(&Folders::below(home).pickup)?;
    file.append(text.as_bytes())?;
    file.finish()
}

/// Runs the service of this configuration until the test mail to `to` has left or cannot; what happened, as a sentence.
pub fn send(config: &Path, home: &Path, to: &str, out: &mut dyn Write) -> Result<String, Failed> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = this_program(&program)
        .arg("run")
        .arg(config)
        // Its usual address may be taken, or not for us.
        .args([
            "--listen",
            "127.0.0.1:0",
            "--set",
            "log.form=text",
            "--set",
            "log.level=info",
        ])
        .env_remove("JOURNAL_STREAM")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start the service: {error}"))?;
    let (sender, news) = mpsc::channel();
    if let Some(log) = child.stderr.take() {
        lines(log, sender, |line| line);
    }
    let told = outcome(&news, home, to, out);
    let stopped = stop(&mut child);
    let told = told?;
    stopped.map(|()| told)
}

fn outcome(
    news: &mpsc::Receiver<String>,
    home: &Path,
    to: &str,
    out: &mut dyn Write,
) -> Result<String, Failed> {
    let mut failed = None;
    loop {
        let line = news.recv_timeout(PATIENCE).map_err(|_| {
            String::from("nothing was heard of the test mail, or the service has ended")
        })?;
        let _ = writeln!(out, "   {line}");
        let says = |event: &str| line.contains(&format!(" {event} "));
        // Sentences that the log puts into quotes.
        let why = line
            .split_once("why=")
            .or_else(|| line.split_once("reply="))
            .map_or(line.as_str(), |(_, why)| why.trim_matches('"'));
        if says("started") {
            submit(home, to).map_err(|error| format!("cannot write into pickup: {error}"))?;
        } else if says("delivered") {
            return Ok(format!("the test mail to {to} was delivered"));
        } else if says("failed") {
            failed = Some(why.to_owned());
        } else if says("badmail") || (says("completed") && failed.is_some()) {
            let why = failed.take().unwrap_or_else(|| why.to_owned());
            return Err(format!("the test mail was refused: {why}"));
        } else if says("deferred") || says("way-held") || says("way-down") {
            return Err(format!("it did not go yet, and waits in the queue: {why}"));
        }
    }
}
