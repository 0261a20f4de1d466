//! What the arguments of `sendmail` mean: every flag that real callers use (FEATURES part B 1c).

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::Arg;

use crate::base::Escaped;
use crate::cli::sendmail::fault::Fault;
use crate::mail::address::BadAddress;
use crate::mail::domain::Domain;
use crate::mail::list;
use crate::mail::list::BadEntry;
use crate::mail::list::Mailbox;

/// Stands for the domain of a bare name until the service knows better; cut off again before it is written.
const BARE: &str = "bare.invalid";

/// What the caller wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Send what comes on standard input.
    #[default]
    Submit,
    /// `-bp`: show the queue.
    Queue,
    /// `-bs`: speak SMTP on standard input and output.
    Smtp,
    /// `-q`: try what is queued now.
    Flush,
    /// `-bi`: there is no alias database to build; all is well.
    Ignore,
}

/// The arguments, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// What to do.
    pub mode: Mode,
    /// `-C`: the configuration whose home counts.
    pub config: Option<PathBuf>,
    /// `--home`.
    pub home: Option<PathBuf>,
    /// `-t`: recipients from the header, besides those given.
    pub from_header: bool,
    /// `-i`, `-oi`: a lone dot is text.
    pub dots_are_text: bool,
    /// `-f`, `-r`.
    pub(super) sender: Option<Mailbox>,
    /// `-F`.
    pub(super) name: Option<String>,
    pub(super) recipients: Vec<String>,
    pub(super) notify: Option<String>,
    pub(super) ret: Option<&'static str>,
    pub(super) envid: Option<String>,
}

impl Order {
    /// Sets the sender, as `-f` does: empty or `<>` is the null sender.
    pub fn set_sender(&mut self, value: &OsString) -> Result<(), Fault> {
        self.sender = Some(sender(value)?);
        Ok(())
    }

    /// Adds recipients that [`recipients`] has read.
    pub fn add_recipients(&mut self, list: Vec<String>) {
        for address in list {
            push_new(address, &mut self.recipients);
        }
    }
}

/// Reads the arguments, without the program's name.
pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Order, Fault> {
    let mut order = Order::default();
    let mut args = lexopt::Parser::from_args(args);
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Short('t') => order.from_header = true,
            Arg::Short('i') => order.dots_are_text = true,
            Arg::Short('o') => {
                // Error, delivery and queue modes are the service's; only the dot is ours.
                let option = args.value()?;
                order.dots_are_text |= option == "i";
            }
            Arg::Short('f' | 'r') => order.set_sender(&args.value()?)?,
            Arg::Short('F') => order.name = Some(text(args.value()?)),
            Arg::Short('b') => {
                order.mode = match args.value()?.to_str() {
                    Some("m") => Mode::Submit,
                    Some("p") => Mode::Queue,
                    Some("s" | "S") => Mode::Smtp,
                    Some("i") => Mode::Ignore,
                    Some("d" | "D") => {
                        return Err(Fault::Usage(
                            "-bd is not offered; start the service with `mailroot run`".into(),
                        ));
                    }
                    Some("v" | "t") => {
                        return Err(Fault::Usage(
                            "addresses are not looked up here; send a message, then `mailroot queue list` shows what becomes of it".into(),
                        ));
                    }
                    _ => return Err(Fault::Usage("-b takes one of m, p, s, i".into())),
                };
            }
            Arg::Short('q') => {
                args.optional_value();
                order.mode = Mode::Flush;
            }
            Arg::Short('I') => order.mode = Mode::Ignore,
            Arg::Short('N') => order.notify = Some(notify(args.value()?)?),
            Arg::Short('R') => order.ret = Some(ret(args.value()?)?),
            Arg::Short('V') => order.envid = Some(envid(args.value()?)?),
            Arg::Short('C') | Arg::Long("config") => order.config = Some(args.value()?.into()),
            Arg::Long("home") => order.home = Some(args.value()?.into()),
            // Taken and of no effect here.
            Arg::Short('B' | 'O' | 'L' | 'X' | 'h' | 'p' | 'M' | 'Q' | 'D') => {
                args.value()?;
            }
            Arg::Short('A' | 'd' | 'e' | 'x') => {
                args.optional_value();
            }
            Arg::Short('U' | 'G' | 'v' | 'n' | 'm' | 's' | 'E') => {}
            Arg::Value(value) => recipients(&value, &mut order.recipients)?,
            other => return Err(other.unexpected().into()),
        }
    }
    if order.mode == Mode::Submit && !order.from_header && order.recipients.is_empty() {
        return Err(Fault::Usage(
            "who is it for? Name the recipients, or use -t to take them from the header".into(),
        ));
    }
    Ok(order)
}

/// The addresses of an argument, which may be a list.
pub fn recipients(value: &OsString, recipients: &mut Vec<String>) -> Result<(), Fault> {
    let domain = bare_domain();
    let entries = list::mailboxes(value.as_encoded_bytes(), domain.as_ref());
    if entries.is_empty() {
        return Err(Fault::Address(BadEntry {
            text: Escaped(value.as_encoded_bytes()).to_string(),
            why: BadAddress::Empty,
        }));
    }
    for entry in entries {
        let mailbox = entry.map_err(Fault::Address)?;
        let address = mailbox.address.ok_or(Fault::Address(BadEntry {
            text: "<>".into(),
            why: BadAddress::Empty,
        }))?;
        push_new(bare(&address.to_string()), recipients);
    }
    Ok(())
}

/// Few enough for a search through all: what comes from a header is without repeats already.
pub(super) fn push_new(address: String, recipients: &mut Vec<String>) {
    if recipients.len() > 100 || !recipients.contains(&address) {
        recipients.push(address);
    }
}

fn sender(value: &OsString) -> Result<Mailbox, Fault> {
    let bytes = value.as_encoded_bytes().trim_ascii();
    if bytes.is_empty() {
        return Ok(Mailbox {
            name: String::new(),
            address: None,
        });
    }
    list::mailbox(bytes, bare_domain().as_ref()).map_err(Fault::Address)
}

/// Whether it is a name that mail can be sent under.
pub(super) fn parse_bare(name: &str) -> Result<(), BadAddress> {
    crate::mail::address::Address::parse_with(name, bare_domain().as_ref()).map(|_| ())
}

/// The stand-in for the domain of a bare name.
pub(super) fn bare_domain() -> Option<Domain> {
    Domain::parse(BARE).ok()
}

/// The address as it was written: without the domain that stood in for none.
pub(super) fn bare(address: &str) -> String {
    address
        .strip_suffix(BARE)
        .and_then(|front| front.strip_suffix('@'))
        .unwrap_or(address)
        .to_owned()
}

fn notify(value: OsString) -> Result<String, Fault> {
    let text = text(value).to_ascii_lowercase();
    let known = |word: &str| matches!(word.trim(), "success" | "failure" | "delay");
    if text == "never" || text.split(',').all(known) {
        Ok(text)
    } else {
        Err(Fault::Usage(
            "-N takes never, or a list of success, failure and delay".into(),
        ))
    }
}

fn ret(value: OsString) -> Result<&'static str, Fault> {
    match text(value).to_ascii_lowercase().as_str() {
        "full" => Ok("full"),
        "hdrs" => Ok("hdrs"),
        _ => Err(Fault::Usage("-R takes full or hdrs".into())),
    }
}

/// RFC 3461 s4: what is not printable, and `+` and `=`, goes as `+XX`.
fn envid(value: OsString) -> Result<String, Fault> {
    let mut xtext = String::new();
    for &byte in value.as_encoded_bytes() {
        if byte.is_ascii_graphic() && byte != b'+' && byte != b'=' {
            xtext.push(char::from(byte));
        } else {
            xtext.push_str(&format!("+{byte:02X}"));
        }
    }
    // RFC 3461 s4.4.
    if xtext.is_empty() || xtext.len() > 100 {
        return Err(Fault::Usage("-V takes 1 to 100 characters".into()));
    }
    Ok(xtext)
}

fn text(value: OsString) -> String {
    value.to_string_lossy().into_owned()
}
