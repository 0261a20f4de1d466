//! What the end-to-end tests share: the real binary in a folder of its own, Postfix's sink as the smart host, and
//! waiting for what the log says instead of for time to pass.
#![allow(dead_code)]

pub mod messages;
pub mod postfix;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

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

/// How long anything may take on a loaded machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A folder that goes when the test passed and stays when it failed.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for a look: {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
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

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    // Below the ports that the kernel gives away by itself, or another test's connection might be there first; and none
    // twice, for it is free until its owner has started.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let at = std::process::id().wrapping_mul(61).wrapping_add(next);
        let port = u16::try_from(10_000 + at % 20_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
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

/// Adds a user to the file of users `users` in this folder; answers the file.
pub fn user(folder: &Path, name: &str, password: &str) -> PathBuf {
    user_with(folder, name, password, &[])
}

/// The same with these options of `mailroot passwd`.
pub fn user_with(folder: &Path, name: &str, password: &str, options: &[&str]) -> PathBuf {
    let file = folder.join("users");
    let mut command = program();
    command.arg("passwd").args(options);
    command.arg("--users").arg(&file).arg(name);
    must(&mut command, format!("{password}\n").as_bytes());
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    file
}

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
        let start = Instant::now();
        loop {
            let out = must(program().args(["status", "--home"]).arg(&self.home), b"");
            if out.lines().any(|l| l.trim() == "queued: 0 messages") {
                return;
            }
            assert!(
                start.elapsed() < 2 * PATIENCE,
                "the queue does not drain:\n{out}"
            );
        }
    }

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

/// Postfix's smtp-sink, which writes each message into a file.
pub struct Sink {
    child: Child,
    pub port: u16,
    dir: PathBuf,
}

impl Sink {
    pub fn start(dir: &Path, args: &[&str]) -> Self {
        Self::start_at(dir, "sink", "127.0.0.1", free_port(), args)
    }

    /// One of several: with its own folder, address and port.
    pub fn start_at(dir: &Path, name: &str, ip: &str, port: u16, args: &[&str]) -> Self {
        let dir = dir.join(name);
        fs::create_dir_all(&dir).unwrap();
        let mut child = command("smtp-sink");
        // It wants to give up root, and then could not write here.
        if is_root() {
            child.args(["-u", "root"]);
        }
        let child = child
            .args(["-d", "%M."])
            .args(args)
            .arg(format!("{ip}:{port}"))
            .arg("512")
            .current_dir(&dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until_open_at(ip, port);
        Self { child, port, dir }
    }

    /// The smart host argument that leads here.
    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}?tls=off", self.port)
    }

    /// Everything received, in no order.
    pub fn messages(&self) -> Vec<Received> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.dir).unwrap() {
            let text = fs::read(entry.unwrap().path()).unwrap();
            if !text.is_empty() {
                all.push(Received::parse(&text));
            }
        }
        all
    }

    /// The one message received.
    pub fn only(&self) -> Received {
        let mut all = self.messages();
        assert_eq!(all.len(), 1, "exactly one message");
        all.pop().unwrap()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether services may be started that want to be root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Waits until somebody listens there.
pub fn wait_until_open(port: u16) {
    wait_until_open_at("127.0.0.1", port);
}

/// The same on another address.
pub fn wait_until_open_at(ip: &str, port: u16) {
    let start = Instant::now();
    while TcpStream::connect((ip, port)).is_err() {
        assert!(start.elapsed() < PATIENCE, "nobody listens on {ip}:{port}");
        std::thread::yield_now();
    }
}

/// A message as the sink got it.
#[derive(Debug, Clone)]
pub struct Received {
    pub mail_args: String,
    pub rcpt_args: Vec<String>,
    /// Our own Received field, unfolded.
    pub trace: String,
    /// The message without the sink's and our trace fields; lines end in LF.
    pub text: Vec<u8>,
}

impl Received {
    fn parse(file: &[u8]) -> Self {
        let mut rest = file;
        let (mut mail_args, mut rcpt_args, mut received) = (String::new(), Vec::new(), Vec::new());
        // The sink's own lines, then its Received field, then ours.
        while received.len() < 2 {
            let (field, tail) = field(rest);
            let text = String::from_utf8_lossy(field).replace("\n", " ");
            if let Some(args) = text.strip_prefix("X-Mail-Args: ") {
                args.trim().clone_into(&mut mail_args);
            } else if let Some(args) = text.strip_prefix("X-Rcpt-Args: ") {
                rcpt_args.push(args.trim().to_owned());
            } else if text.starts_with("Received:") {
                received.push(text.split_whitespace().collect::<Vec<_>>().join(" "));
            } else if !text.starts_with("X-") {
                break;
            }
            rest = tail;
        }
        // The sink ends each file with an empty line of its own.
        let text = rest.strip_suffix(b"\n").unwrap_or(rest).to_vec();
        Self {
            mail_args,
            rcpt_args,
            trace: received.get(1).cloned().unwrap_or_default(),
            text,
        }
    }

    /// The first field of this name, unfolded.
    pub fn header(&self, name: &str) -> Option<String> {
        let mut rest = &self.text[..];
        while !rest.is_empty() && !rest.starts_with(b"\n") {
            let (one, tail) = field(rest);
            let text = String::from_utf8_lossy(one);
            if let Some((key, value)) = text.split_once(':')
                && key.eq_ignore_ascii_case(name)
            {
                return Some(value.split_whitespace().collect::<Vec<_>>().join(" "));
            }
            rest = tail;
        }
        None
    }
}

/// The first header field with its folded lines, and what follows.
fn field(text: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    loop {
        let line = text[end..]
            .iter()
            .position(|&b| b == b'\n')
            .map_or(text.len(), |at| end + at + 1);
        end = line;
        if end >= text.len() || !matches!(text[end], b' ' | b'\t') {
            return text.split_at(end);
        }
    }
}

/// CRLF to LF, and the lines as the sink would write them.
pub fn as_sunk(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len());
    for line in message.split_inclusive(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        out.push(b'\n');
    }
    out
}

/// Speaks SMTP by hand: sends each line, and answers the replies in order.
pub struct Talk {
    stream: BufReader<TcpStream>,
}

impl Talk {
    pub fn connect(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).unwrap())
    }

    /// The same on a connection that is there.
    pub fn on(stream: TcpStream) -> Self {
        let mut talk = Self::over(stream);
        talk.reply();
        talk
    }

    /// Over this connection, whose greeting has not been read.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Waits for something to be said or for the connection to end, at most so long; true when neither came.
    pub fn hears_nothing_for(&self, wait: Duration) -> bool {
        let stream = self.stream.get_ref();
        stream.set_read_timeout(Some(wait)).unwrap();
        let heard = stream.peek(&mut [0]);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        heard.is_err()
    }

    /// The connection, for who speaks something else on it.
    pub fn into_stream(self) -> BufReader<TcpStream> {
        self.stream
    }

    /// One reply, all its lines.
    pub fn reply(&mut self) -> String {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let last = line.as_bytes().get(3) != Some(&b'-');
            text.push_str(&line);
            if last {
                return text;
            }
        }
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// One command, one reply.
    pub fn say(&mut self, line: &str) -> String {
        self.raw(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// A whole message; the reply to the final dot. `text` must be dot-stuffed and end in CRLF.
    pub fn send(&mut self, from: &str, to: &[&str], text: &str) -> String {
        let reply = self.say(&format!("MAIL FROM:<{from}>"));
        assert!(reply.starts_with("250"), "{reply}");
        for to in to {
            let reply = self.say(&format!("RCPT TO:<{to}>"));
            assert!(reply.starts_with("250"), "{reply}");
        }
        let reply = self.say("DATA");
        assert!(reply.starts_with("354"), "{reply}");
        self.raw(text.as_bytes());
        self.say(".")
    }

    /// Whatever the peer still says until it hangs up.
    pub fn rest(mut self) -> String {
        let mut text = String::new();
        let _ = self.stream.read_to_string(&mut text);
        text
    }
}
