//! Runs a program of the owner: bounded in number and in time, killed with all it has started, watched without a thread.
//!
//! It is started by the file worker, since that may take a moment on a small box; its end is asked for when its standard
//! error closes, and now and then. What the kernel has for that (pidfd) is younger than many routers, and async-process
//! brings a thread of its own. The environment is not ours: a password may stand in that.

use std::cell::Cell;
use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::process::Signal;
use smol::future;
use smol::lock::Semaphore;

use crate::base::Escaped;
use crate::base::limits;
use crate::config;
use crate::config::hooks::On;
use crate::disk::stored::StoredBody;
use crate::disk::worker::Worker;
use crate::net::ready::Alarm;
use crate::net::ready::Watched;
use crate::net::within::within;
use crate::service::signal::Wake;

/// What is kept of what it says, in bytes.
const SAID: usize = 300;
/// The first and the longest wait before its end is asked for again.
const LOOKS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(500));
/// What it finds its own programs with.
const SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program of the configuration.
#[derive(Debug)]
pub struct Hook {
    settings: config::hooks::Hook,
    places: Semaphore,
    waiting: Cell<u32>,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// The first line of its standard error, fit to print.
    pub said: String,
}

impl Hook {
    /// The program of these settings.
    pub fn of(settings: &config::hooks::Hook) -> Rc<Self> {
        let places = usize::try_from(settings.at_once).unwrap_or(1);
        Rc::new(Self {
            settings: settings.clone(),
            places: Semaphore::new(places),
            waiting: Cell::default(),
        })
    }

    /// Whether it is run then.
    pub fn wants(&self, on: On) -> bool {
        self.settings.on.contains(&on)
    }

    /// Its path.
    pub fn path(&self) -> &str {
        self.settings.exec.first().map_or("", String::as_str)
    }

    /// Whether so many wait for it that no more can.
    pub fn is_full(&self) -> bool {
        self.waiting.get() >= limits::HOOK_QUEUE
    }

    /// Runs it in its turn, with these variables, in this folder. `body` is opened only then. Who is in a `hurry` waits
    /// for its turn no longer than it may run.
    pub async fn run(
        &self,
        worker: &Worker,
        (folder, hurry): (&Path, bool),
        variables: Vec<(&'static str, OsString)>,
        body: impl AsyncFnOnce() -> Option<StoredBody>,
    ) -> Result<Ended, String> {
        let wait = self.settings.timeout;
        let _waits = Waits::begin(&self.waiting);
        let turn = self.places.acquire();
        let _place = if hurry {
            let late = |_| format!("its turn did not come within {} seconds", wait.as_secs());
            within(wait, turn).await.map_err(late)?
        } else {
            turn.await
        };
        let mut command = self.command(folder, variables);
        let body = body().await;
        command.stdin(body.as_ref().map_or_else(Stdio::null, |_| Stdio::piped()));
        let started = worker.run(move || command.spawn()).await;
        let mut running = Running(started.map_err(|error| error.to_string())?);
        match within(wait, attend(&mut running, body)).await {
            Err(_) => {
                running.end().await;
                Err(format!("killed after {} seconds", wait.as_secs()))
            }
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok((status, said))) => match status.code() {
                Some(code) => Ok(Ended { code, said }),
                None => Err(status.to_string()),
            },
        }
    }

    fn command(&self, folder: &Path, variables: Vec<(&'static str, OsString)>) -> Command {
        let mut command = Command::new(self.path());
        command
            .args(self.settings.exec.iter().skip(1))
            .env_clear()
            .env("PATH", SEARCH)
            .envs(variables)
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // So that it can be killed with all it has started.
            .process_group(0);
        command
    }
}

/// Counts who waits.
struct Waits<'a>(&'a Cell<u32>);

impl<'a> Waits<'a> {
    fn begin(count: &'a Cell<u32>) -> Self {
        count.set(count.get().saturating_add(1));
        Self(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// A program that runs, and does no longer when this goes.
struct Running(Child);

impl Running {
    /// Kills it with all it has started, if it has not ended. Its number is its own until it was waited for.
    fn kill(&mut self) -> bool {
        let runs = matches!(self.0.try_wait(), Ok(None));
        let group = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group.filter(|_| runs) {
            // Gone in between is as good.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        runs
    }

    /// The same, and waits until it is gone, so that the system can forget it. One that is stuck inside the kernel is
    /// given up after a while.
    async fn end(&mut self) {
        let mut wait = LOOKS.0;
        while self.kill() && wait <= LOOKS.1 {
            Alarm::after(wait).await;
            wait = wait.saturating_mul(2);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What it left running when it ended well may go on.
        self.kill();
    }
}

/// Feeds it, hears it, and waits for its end.
async fn attend(
    running: &mut Running,
    body: Option<StoredBody>,
) -> io::Result<(ExitStatus, String)> {
    let stdin = running.0.stdin.take().map(OwnedFd::from);
    let stdin = stdin.map(watched).transpose()?;
    let stderr = running.0.stderr.take().map(OwnedFd::from);
    let stderr = stderr.map(watched).transpose()?;
    let (said, closed) = (RefCell::new(Vec::new()), Wake::default());
    let feed = async {
        if let (Some(stdin), Some(body)) = (stdin, body) {
            // It need not read what it does not want.
            let _ = give(stdin, body).await;
        }
        future::pending().await
    };
    let listen = async {
        if let Some(stderr) = &stderr {
            hear(stderr, &said).await;
        }
        closed.ring();
        future::pending().await
    };
    let over = async {
        let mut wait = LOOKS.0;
        loop {
            if let Some(status) = running.0.try_wait()? {
                return Ok(status);
            }
            future::or(Alarm::after(wait), closed.heard()).await;
            wait = wait.saturating_mul(2).min(LOOKS.1);
        }
    };
    let status: io::Result<ExitStatus> = future::or(over, future::or(feed, listen)).await;
    if let Some(stderr) = &stderr {
        // What it said last may not have been heard: the notice of it can come after that of its end. Who still holds the
        // other end is not waited for.
        let mut block = [0; 512];
        loop {
            let read = rustix::io::read(stderr.get_ref(), &mut block);
            // Nothing would ever stop one that it left behind from saying more.
            if !keep(read, &block, &said) || said.borrow().len() >= SAID {
                break;
            }
        }
    }
    let said = said.borrow();
    let first = said.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok((status?, Escaped(first.trim_ascii()).to_string()))
}

fn watched(pipe: OwnedFd) -> io::Result<Watched<OwnedFd>> {
    let flags = rustix::fs::fcntl_getfl(&pipe)?;
    rustix::fs::fcntl_setfl(&pipe, flags | OFlags::NONBLOCK)?;
    Watched::new(pipe)
}

/// Writes the message, and closes.
async fn give(stdin: Watched<OwnedFd>, mut body: StoredBody) -> io::Result<()> {
    let (mut block, mut offset) = (Vec::new(), 0_u64);
    while offset < body.len() {
        body.read(offset, &mut block).await?;
        offset = offset.saturating_add(u64::try_from(block.len()).unwrap_or(u64::MAX));
        let mut rest = block.as_slice();
        while !rest.is_empty() {
            let writing = std::future::poll_fn(|context| {
                stdin.poll_output(context, |pipe| rustix::io::write(pipe, rest))
            });
            match writing.await {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(())
}

/// Reads until it is closed; the front is kept.
async fn hear(stderr: &Watched<OwnedFd>, said: &RefCell<Vec<u8>>) {
    let mut block = [0; 512];
    loop {
        let read = stderr.input(|pipe| rustix::io::read(pipe, &mut block));
        let read = read.await;
        if !keep(read, &block, said) {
            return;
        }
    }
}

/// Keeps the front of what was read into the block. Says whether there may be more.
fn keep(read: Result<usize, Errno>, block: &[u8], said: &RefCell<Vec<u8>>) -> bool {
    match read {
        Ok(0) => false,
        Ok(count) => {
            let mut said = said.borrow_mut();
            let room = SAID.saturating_sub(said.len());
            let part = block.get(..count.min(room)).unwrap_or_default();
            said.extend_from_slice(part);
            true
        }
        Err(Errno::INTR) => true,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Ended, Hook};
    use crate::config;
    use crate::config::hooks::On;
    use crate::disk::worker::Worker;
    use crate::net::ready::block_on;
    use smol::future;
    use std::ffi::OsString;
    use std::path::Path;
    use std::rc::Rc;
    use std::time::Duration;

    fn shell(script: &str, timeout: u64) -> Rc<Hook> {
        Hook::of(&config::hooks::Hook {
            on: vec![On::Held],
            exec: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            timeout: Duration::from_secs(timeout),
            at_once: 2,
        })
    }

    fn run(hook: &Hook) -> Result<Ended, String> {
        let worker = Worker::start().unwrap();
        let facts = vec![("MAILROOT_WHY", OsString::from("it is late"))];
        block_on(hook.run(&worker, (Path::new("/"), false), facts, async || None)).unwrap()
    }

    #[test]
    fn its_end_and_its_first_line_are_known_and_our_environment_is_not_its() {
        let ended = run(&shell(
            "echo \"$MAILROOT_WHY $HOME$CARGO\" >&2; echo more >&2; exit 7",
            60,
        ));
        let said = "it is late".to_owned();
        assert_eq!(ended, Ok(Ended { code: 7, said }));
        let silent = run(&shell("exec 2>&-; true", 60)).unwrap();
        assert_eq!((silent.code, silent.said.as_str()), (0, ""));
        let killed = run(&shell("kill -9 $$", 60)).unwrap_err();
        assert!(killed.contains("signal"), "{killed}");
        let absent = config::hooks::Hook {
            exec: vec!["/nowhere/at/all".to_owned()],
            ..shell("", 1).settings.clone()
        };
        assert!(run(&Hook::of(&absent)).is_err());
    }

    #[test]
    fn who_takes_too_long_is_killed_with_all_it_has_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let own = folder.path().join("own");
        let script = format!(
            "echo $$ >{}; sleep 1000 & echo $! >{}; wait",
            own.display(),
            file.display()
        );
        let why = run(&shell(&script, 1)).unwrap_err();
        assert_eq!(why, "killed after 1 seconds");
        let own = std::fs::read_to_string(own).unwrap();
        assert!(
            !Path::new("/proc").join(own.trim()).exists(),
            "it is forgotten"
        );
        let pid = std::fs::read_to_string(&file).unwrap();
        let status = Path::new("/proc").join(pid.trim()).join("stat");
        // A zombie is dead, whoever has not waited for it.
        let gone = || std::fs::read_to_string(&status).map_or(true, |stat| stat.contains(") Z "));
        let start = std::time::Instant::now();
        while !gone() {
            assert!(start.elapsed() < Duration::from_secs(60));
            std::thread::yield_now();
        }
    }

    #[test]
    fn no_more_run_at_once_than_may() {
        let folder = tempfile::tempdir().unwrap();
        // Each counts who runs beside it.
        let script = format!(
            "d={}; mkdir $d/$$; ls $d | wc -l >&2; sleep 0.1; rmdir $d/$$",
            folder.path().display()
        );
        let (hook, worker) = (shell(&script, 60), Worker::start().unwrap());
        let one = || async {
            let ended = hook
                .run(&worker, (Path::new("/"), false), Vec::new(), async || None)
                .await;
            ended.unwrap().said.parse::<u32>().unwrap()
        };
        let counts = block_on(async {
            let (a, b) = future::zip(future::zip(one(), one()), future::zip(one(), one())).await;
            [a.0, a.1, b.0, b.1]
        });
        assert!(counts.unwrap().into_iter().all(|count| count <= 2));
        assert_eq!(hook.waiting.get(), 0);
    }
}
