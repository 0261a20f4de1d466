//! `mailroot demo`: the main job in a temporary home, without any configuration.
//!
//! Starts this very program as a service, with a smart host that is built in here, hands it mail by every door, and
//! shows each message's way from what the service logs. Nothing leaves the box and nothing stays on it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::ExitCode;
use std::process::Stdio;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::base::MsgId;
use crate::cli::load;
use crate::cli::sysexits;
use crate::cli::trial;
use crate::cli::trial::Failed;
use crate::cli::trial::stop;
use crate::cli::trial::this_program;
use crate::mail::Domain;
use crate::net::clock;
use crate::smtp::fault::Fault;
use crate::smtp::server::Order;
use crate::smtp::server::Server;
use crate::smtp::server::settings::Settings;

/// How long any one step may take before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs it. 0 when every message went the way it should.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    load::on_terminal(args, |args, out, err| {
        if let Ok(Some(arg)) = args.next() {
            let _ = writeln!(err, "{}", load::unexpected(arg));
            return sysexits::USAGE;
        }
        match show(out) {
            Ok(()) => sysexits::OK,
            Err(why) => {
                let _ = writeln!(err, "mailroot: the demo failed: {why}");
                sysexits::SOFTWARE
            }
        }
    })
}

/// What comes in from the service's log and from the smart host, in order.
enum News {
    Log(String),
    Received {
        from: String,
        to: String,
        bytes: usize,
    },
}

/// The service, ended with its home when the demo is over.
struct Running {
    child: Child,
    home: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.home);
    }
}

fn show(out: &mut dyn Write) -> Result<(), Failed> {
    let io = |what: &'static str| move |error: io::Error| format!("cannot {what}: {error}");
    let (sender, news) = mpsc::channel();
    let smart_host = smart_host(sender.clone()).map_err(io("open a loopback listener"))?;
    let home = std::env::temp_dir().join(format!("mailroot-demo-{}", std::process::id()));
    fs::create_dir_all(&home).map_err(io("make a temporary home"))?;
    let program = std::env::current_exe().map_err(io("find this program"))?;
    let mut service = start(&program, &home, smart_host, sender)?;
    let listener = wait(&news, out, |line| {
        let (_, address) = line.split_once("listening address=")?;
        address.parse::<SocketAddr>().ok()
    })?;
    wait(&news, out, |line| line.contains("started ").then_some(()))?;

    say(out, "\n1. A printer speaks SMTP")?;
    by_smtp(
        listener,
        "printer@lan.example",
        "owner@example.org",
        "toner low",
    )?;
    arrival(&news, out)?;

    say(out, "\n2. A program drops a file into pickup/")?;
    let text = "X-Sender: app@lan.example\r\nX-Receiver: owner@example.org\r\nFrom: app@lan.example\r\n\
                To: owner@example.org\r\nSubject: report\r\n\r\nall is well\r\n";
    let temp = home.join("report.eml");
    fs::write(&temp, text).map_err(io("write a file"))?;
    fs::rename(&temp, home.join("pickup/report.eml")).map_err(io("move it into pickup/"))?;
    arrival(&news, out)?;

    say(out, "\n3. A script calls sendmail")?;
    let text = b"From: cron@lan.example\nTo: owner@example.org\nSubject: backup\n\ndone\n";
    sendmail(&program, &home, text)?;
    arrival(&news, out)?;

    say(out, "\n4. Mail for a local domain lands in drop/")?;
    by_smtp(
        listener,
        "printer@lan.example",
        "scans@drop.example",
        "a scan",
    )?;
    completion(&news, out)?;
    let dropped = fs::read_dir(home.join("drop"))
        .map_err(io("read drop/"))?
        .count();
    expect(dropped == 1, "one file in drop/")?;

    say(
        out,
        "\n5. The smart host refuses a recipient: the sender gets a report",
    )?;
    by_smtp(listener, "app@lan.example", "nobody@example.org", "lost")?;
    let (_, to) = arrival(&news, out)?;
    expect(to == "app@lan.example", "a report to the sender")?;

    let status = this_program(&program)
        .arg("status")
        .arg("--home")
        .arg(&home)
        .output();
    let status = status.map_err(io("run `mailroot status`"))?;
    say(out, "\n`mailroot status` says:")?;
    say(out, &String::from_utf8_lossy(&status.stdout))?;
    expect(status.status.success(), "a status")?;

    stop(&mut service.child)?;
    say(
        out,
        "Every message went its way. The home was temporary and is gone.",
    )
}

fn expect(fact: bool, what: &str) -> Result<(), Failed> {
    if fact {
        Ok(())
    } else {
        Err(format!("there should have been {what}"))
    }
}

fn say(out: &mut dyn Write, text: &str) -> Result<(), Failed> {
    writeln!(out, "{text}").map_err(|error| error.to_string())
}

fn start(
    program: &Path,
    home: &Path,
    smart_host: SocketAddr,
    news: mpsc::Sender<News>,
) -> Result<Running, Failed> {
    let child = this_program(program)
        .args([
            "run",
            "--listen",
            "127.0.0.1:0",
            "--hostname",
            "demo.example",
        ])
        .args(["--local", "drop.example", "--home"])
        .arg(home)
        .arg("--smart-host")
        .arg(format!("smtp://{smart_host}?tls=off"))
        // Lines for people, whoever started us.
        .env_remove("JOURNAL_STREAM")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start the service: {error}"))?;
    let mut running = Running {
        child,
        home: home.to_owned(),
    };
    let log = running
        .child
        .stderr
        .take()
        .ok_or("the service has no log")?;
    trial::lines(log, news, News::Log);
    Ok(running)
}

/// Shows what happens until a log line answers.
fn wait<T>(
    news: &mpsc::Receiver<News>,
    out: &mut dyn Write,
    answer: impl Fn(&str) -> Option<T>,
) -> Result<T, Failed> {
    loop {
        if let News::Log(line) = next(news, out)?
            && let Some(found) = answer(&line)
        {
            return Ok(found);
        }
    }
}

fn next(news: &mpsc::Receiver<News>, out: &mut dyn Write) -> Result<News, Failed> {
    let item = news
        .recv_timeout(PATIENCE)
        .map_err(|_| String::from("nothing happened for 30 seconds, or the service has ended"))?;
    match &item {
        News::Log(line) => say(out, &format!("   log         {line}"))?,
        News::Received { from, to, bytes } => say(
            out,
            &format!("   smart host  took {bytes} bytes from <{from}> for <{to}>"),
        )?,
    }
    Ok(item)
}

/// Waits until a message has reached the smart host and the service has noted that; sender and recipient.
fn arrival(news: &mpsc::Receiver<News>, out: &mut dyn Write) -> Result<(String, String), Failed> {
    let mut received = None;
    let mut completed = false;
    loop {
        match next(news, out)? {
            News::Received { from, to, .. } => received = Some((from, to)),
            News::Log(line) => completed |= line.contains(" completed "),
        }
        if completed && let Some(received) = received.take() {
            return Ok(received);
        }
    }
}

fn completion(news: &mpsc::Receiver<News>, out: &mut dyn Write) -> Result<(), Failed> {
    wait(news, out, |line| line.contains(" completed ").then_some(()))
}

/// Sends one message as a small device does.
fn by_smtp(to: SocketAddr, sender: &str, recipient: &str, subject: &str) -> Result<(), Failed> {
    let talk = || -> io::Result<String> {
        let stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut replies = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        let mut last = String::new();
        for command in [
            "",
            "HELO printer.lan.example\r\n",
            &format!("MAIL FROM:<{sender}>\r\n"),
            &format!("RCPT TO:<{recipient}>\r\n"),
            "DATA\r\n",
            &format!(
                "From: {sender}\r\nTo: {recipient}\r\nSubject: {subject}\r\n\r\nhello\r\n.\r\n"
            ),
            "QUIT\r\n",
        ] {
            stream.write_all(command.as_bytes())?;
            last.clear();
            replies.read_line(&mut last)?;
            if !last.starts_with(['2', '3']) {
                return Ok(last);
            }
        }
        Ok(String::new())
    };
    match talk() {
        Ok(refused) if refused.is_empty() => Ok(()),
        Ok(refused) => Err(format!("the service said {}", refused.trim_end())),
        Err(error) => Err(format!("cannot speak to the service: {error}")),
    }
}

fn sendmail(program: &Path, home: &Path, text: &[u8]) -> Result<(), Failed> {
    let run = || -> io::Result<bool> {
        let mut child = this_program(program)
            .args(["sendmail", "--home"])
            .arg(home)
            .arg("-t")
            .stdin(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(text)?;
        }
        Ok(child.wait()?.success())
    };
    match run() {
        Ok(true) => Ok(()),
        Ok(false) => Err(String::from("sendmail did not take the message")),
        Err(error) => Err(format!("cannot run sendmail: {error}")),
    }
}

/// A smart host in a thread of its own: our own server machine over plain blocking sockets. It takes everything but
/// mail for `nobody@`.
fn smart_host(news: mpsc::Sender<News>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let news = news.clone();
            thread::spawn(move || receive(stream, &news));
        }
    });
    Ok(address)
}

fn receive(mut stream: TcpStream, news: &mpsc::Sender<News>) {
    let Ok(hostname) = Domain::parse("smarthost.example") else {
        return;
    };
    let settings = Rc::new(Settings::new(hostname));
    let mut server = Server::new(settings, None, false, clock::tick());
    let (mut block, mut at, mut end) = ([0; 4096], 0, 0);
    let mut bytes = 0;
    loop {
        let mut input = block.get(at..end).unwrap_or_default();
        let order = server.next_order(clock::tick(), &mut input);
        at = end - input.len();
        match order {
            Order::Send(reply) => {
                if stream.write_all(reply).is_err() {
                    server.on_closed();
                }
            }
            Order::Read(_) => match stream.read(&mut block) {
                Ok(read) if read > 0 => (at, end) = (0, read),
                _ => server.on_closed(),
            },
            Order::AskRcpt { recipient, .. } => {
                let known = recipient.address.local() != "nobody";
                server.on_verdict(if known { Ok(()) } else { Err(Fault::NoMailbox) });
            }
            Order::AskMail { .. } => server.on_verdict(Ok(())),
            Order::Begin { .. } => {
                bytes = 0;
                server.on_verdict(Ok(()));
            }
            Order::Body(text) => bytes += text.len(),
            Order::Commit { envelope, .. } => {
                let to: Vec<String> = envelope
                    .recipients
                    .iter()
                    .map(|to| to.address.to_string())
                    .collect();
                let from = envelope
                    .sender
                    .as_ref()
                    .map_or_else(String::new, ToString::to_string);
                // The demo that has ended does not want to know.
                let _ = news.send(News::Received {
                    from,
                    to: to.join(" "),
                    bytes,
                });
                server.on_stored(Ok(MsgId::from_number(1)));
            }
            Order::Abort => bytes = 0,
            Order::Pause(_) => {}
            // Nothing else is offered.
            _ => return,
        }
    }
}
