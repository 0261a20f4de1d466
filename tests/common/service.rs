//! A running service: started, watched by its log, asked, stopped or killed.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use super::{Folder, PATIENCE, Talk, ask, must, program, texts, until_true};

/// Lines that somebody writes, for those who wait for one.
#[derive(Default)]
struct Lines {
    seen: Mutex<(Vec<String>, bool)>,
    news: Condvar,
}

/// A running service.
pub struct Mailroot {
    child: Child,
    log: Arc<Lines>,
    pub address: SocketAddr,
    pub home: PathBuf,
}

impl Mailroot {
    /// Starts on a free loopback port with this home and these further arguments, and waits until it listens.
    pub fn start(home: &Path, args: &[&str]) -> Self {
        Self::start_with(home, args, |_| {})
    }

    pub fn start_with(home: &Path, args: &[&str], more: impl FnOnce(&mut Command)) -> Self {
        let mut command = program();
        command
            .args([
                "run",
                "--listen",
                "127.0.0.1:0",
                "--hostname",
                "box.example",
                "--home",
            ])
            .arg(home)
            .args(args);
        more(&mut command);
        Self::spawn(home, command)
    }

    /// Starts with this configuration below home and host name, and above a listener on a free port.
    pub fn configured(folder: &Folder, configuration: &str) -> Self {
        Self::configured_with(folder, configuration, |_| {})
    }

    /// The same with a command that has more to it, such as an environment.
    pub fn configured_with(
        folder: &Folder,
        configuration: &str,
        more: impl FnOnce(&mut Command),
    ) -> Self {
        let home = folder.home();
        let text = format!(
            "home = '{}'\nhostname = 'box.example'\n{configuration}\n[[listen]]\naddress = '127.0.0.1:0'\n",
            home.display()
        );
        let mut command = program();
        command.arg("run").arg(folder.file("mailroot.toml", text));
        more(&mut command);
        Self::spawn(&home, command)
    }

    /// Starts with this file, whose home this is.
    pub fn run(home: &Path, file: &Path) -> Self {
        let mut command = program();
        command.arg("run").arg(file);
        Self::spawn(home, command)
    }

    /// Starts a host for ours to send to: on this port, with this certificate, it takes mail for this domain.
    pub fn host(home: &Path, port: u16, domain: &str, certificate: &Path) -> Self {
        let mut command = program();
        command
            .args(["run", "--hostname", "host.example", "--local", domain])
            .arg("--listen")
            .arg(format!("127.0.0.1:{port}"))
            .arg("--set")
            .arg(format!("tls.certificate={}", certificate.display()))
            .arg("--home")
            .arg(home);
        Self::spawn(home, command)
    }

    /// Starts what the caller put together; it must listen somewhere.
    pub fn spawn(home: &Path, command: Command) -> Self {
        let mut this = Self::launch(home, command);
        let line = this.wait_for("it listens", |line| line.contains("listening address="));
        this.address = line.rsplit_once("address=").unwrap().1.parse().unwrap();
        this.wait_for("it is ready", |line| line.contains("started version="));
        this
    }

    /// Starts it and waits for nothing.
    pub fn launch(home: &Path, mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Lines::default());
        let (stderr, lines) = (child.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let Ok(line) = line else { break };
                lines.seen.lock().unwrap().0.push(line);
                lines.news.notify_all();
            }
            lines.seen.lock().unwrap().1 = true;
            lines.news.notify_all();
        });
        Self {
            child,
            log,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            home: home.to_owned(),
        }
    }

    /// A client that has greeted it by this name.
    pub fn client(&self, name: &str) -> Talk {
        let mut talk = Talk::connect(self.address);
        talk.greet(name);
        talk
    }

    /// Sends a message over a connection of its own; it must be taken. Answers what was said to it.
    pub fn submit(&self, from: &str, to: &[&str], text: &str) -> String {
        let mut talk = self.client("printer.lan");
        let reply = talk.send(from, to, text);
        assert!(reply.starts_with("250"), "{reply}");
        talk.say("QUIT");
        reply
    }

    /// Runs a command of ours on its home.
    pub fn ask(&self, words: &[&str]) -> String {
        ask(&self.home, words)
    }

    /// The messages in its drop folder.
    pub fn dropped(&self) -> Vec<String> {
        let folder = self.home.join("drop");
        assert!(folder.is_dir(), "{} is there", folder.display());
        texts(&folder)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first line that fits, waited for.
    pub fn wait_for(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        self.wait_count(what, 1, fits).pop().unwrap()
    }

    /// The first line that has all these in it, waited for.
    pub fn line(&self, words: &[&str]) -> String {
        self.wait_for(&words.join(" "), |line| {
            words.iter().all(|word| line.contains(word))
        })
    }

    /// The first `count` lines that fit, waited for. The clock starts again with each line that is written.
    pub fn wait_count(&self, what: &str, count: usize, fits: impl Fn(&str) -> bool) -> Vec<String> {
        let mut seen = self.log.seen.lock().unwrap();
        loop {
            let found: Vec<String> = seen
                .0
                .iter()
                .filter(|l| fits(l))
                .take(count)
                .cloned()
                .collect();
            if found.len() == count {
                return found;
            }
            let so_far = found.len();
            assert!(
                !seen.1,
                "the service ended before {what} ({so_far} of {count}):\n{}",
                seen.0.join("\n")
            );
            let (next, timeout) = self.log.news.wait_timeout(seen, PATIENCE).unwrap();
            seen = next;
            let tail = seen.0.len().saturating_sub(30);
            assert!(
                !timeout.timed_out(),
                "waited in vain until {what} ({so_far} of {count}); the log ends:\n{}",
                seen.0[tail..].join("\n")
            );
        }
    }

    /// Waits until so many messages have been completed since the start.
    pub fn completed(&self, count: usize) {
        self.wait_count(&format!("{count} messages are completed"), count, |l| {
            l.contains(" completed id=")
        });
    }

    /// Waits until nothing is queued any more.
    pub fn wait_for_empty(&self) {
        until_true("the queue is empty", || {
            let status = self.ask(&["status"]);
            status
                .lines()
                .any(|line| line.trim() == "queued: 0 messages")
        });
    }

    /// Everything it has logged so far.
    pub fn log(&self) -> String {
        self.log.seen.lock().unwrap().0.join("\n")
    }

    pub fn signal(&self, signal: &str) {
        must(
            Command::new("kill")
                .arg(format!("-{signal}"))
                .arg(self.pid().to_string()),
            b"",
        );
    }

    /// SIGTERM and the end it brings.
    pub fn stop(mut self) -> String {
        self.signal("TERM");
        let status = self.child.wait().unwrap();
        // Its last line may still be on its way to us.
        let seen = self.log.seen.lock().unwrap();
        let over = self
            .log
            .news
            .wait_timeout_while(seen, PATIENCE, |seen| !seen.1);
        drop(over.unwrap());
        assert!(status.success(), "{status}:\n{}", self.log());
        self.log()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Mailroot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The id in a line of the log.
pub fn id_in(line: &str) -> String {
    let (_, rest) = line.split_once(" id=").unwrap();
    rest.split(' ').next().unwrap().to_owned()
}
