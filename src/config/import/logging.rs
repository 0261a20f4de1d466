//! What a virtual server of IIS logged, as settings of the log.

use crate::config::import::metabase::Properties;
use crate::config::import::metabase::number;
use crate::config::import::paper::Paper;

/// The modules that wrote logs, by their class, and the form here.
const MODULES: &[(&str, &str, &str)] = &[
    (
        "{FF160663-DE82-11CF-BC0A-00AA006111E0}",
        "W3C extended",
        "w3c",
    ),
    (
        "{FF160657-DE82-11CF-BC0A-00AA006111E0}",
        "Microsoft IIS",
        "iis",
    ),
    (
        "{FF16065F-DE82-11CF-BC0A-00AA006111E0}",
        "NCSA common",
        "ncsa",
    ),
    ("{FF16065B-DE82-11CF-BC0A-00AA006111E0}", "ODBC", "json"),
];

/// Bits and names of LogExtFileFlags, and the field.
const FIELDS: &[(u64, &str, &str)] = &[
    (0x1, "LogExtFileDate", "date"),
    (0x2, "LogExtFileTime", "time"),
    (0x4, "LogExtFileClientIp", "c-ip"),
    (0x8, "LogExtFileUserName", "cs-username"),
    (0x10, "LogExtFileSiteName", "s-sitename"),
    (0x20, "LogExtFileComputerName", "s-computername"),
    (0x40, "LogExtFileServerIp", "s-ip"),
    (0x8000, "LogExtFileServerPort", "s-port"),
    (0x80, "LogExtFileMethod", "cs-method"),
    (0x100, "LogExtFileUriStem", "cs-uri-stem"),
    (0x200, "LogExtFileUriQuery", "cs-uri-query"),
    (0x400, "LogExtFileHttpStatus", "sc-status"),
    (0x800, "LogExtFileWin32Status", "sc-win32-status"),
    (0x1000, "LogExtFileBytesSent", "sc-bytes"),
    (0x2000, "LogExtFileBytesRecv", "cs-bytes"),
    (0x4000, "LogExtFileTimeTaken", "time-taken"),
    (0x80000, "LogExtFileProtocolVersion", "cs-version"),
    (0x10_0000, "LogExtFileHost", "cs-host"),
    (0x10000, "LogExtFileUserAgent", "cs(User-Agent)"),
    (0x20000, "LogExtFileCookie", "cs(Cookie)"),
    (0x40000, "LogExtFileReferer", "cs(Referer)"),
];

/// Translates everything about logs.
pub fn translate(properties: &mut Properties, paper: &mut Paper) {
    let on = properties.number("LogType").map(|number| number == 1);
    let module = properties.take("LogPluginClsid");
    let period = properties.number("LogFilePeriod");
    let size = properties.number("LogFileTruncateSize");
    let fields = properties.take("LogExtFileFlags");
    let folder = properties.take("LogFileDirectory");
    let odbc = [
        "LogOdbcDataSource",
        "LogOdbcTableName",
        "LogOdbcUserName",
        "LogOdbcPassword",
    ]
    .map(|name| properties.take(name));
    if on != Some(true) {
        if on == Some(false) {
            let log = paper.once("log");
            paper.remark(
                log,
                "LogType = 0: IIS kept no log. Events are logged here as usual.",
            );
        }
        return;
    }
    let log = paper.once("log");
    let wanted = module.unwrap_or_default();
    let known = MODULES
        .iter()
        .find(|(class, ..)| class.eq_ignore_ascii_case(wanted.trim()));
    let (title, form) = known.map_or(("W3C extended", "w3c"), |(_, title, form)| (*title, *form));
    let comment = format!("LogType = 1, LogPluginClsid: {title}.");
    paper.put(log, "form", form, &comment);
    if form == "json" {
        paper.put(
            log,
            "dialogue",
            "true",
            "Every command and reply, as there.",
        );
        paper.put(log, "to", "files", "Into files in log.directory.");
        let was: Vec<String> = odbc.into_iter().take(2).flatten().collect();
        paper.remark(
            log,
            &format!(
                "ODBC ({}): any database reads lines of JSON.",
                was.join(", ")
            ),
        );
    }
    if let Some(folder) = folder {
        let log = paper.once("log");
        paper.remark(
            log,
            &format!("LogFileDirectory = {folder}: files are in log.directory, by default logs in the home."),
        );
    }
    if let Some(period) = period {
        let word = match period {
            1 => "daily",
            2 => "weekly",
            3 => "monthly",
            4 => "hourly",
            _ => "never",
        };
        paper.put(log, "rotate", word, &format!("LogFilePeriod = {period}."));
    }
    if let Some(size) = size {
        let comment = format!("LogFileTruncateSize = {size}.");
        if size >= u64::from(u32::MAX) {
            paper.put(log, "file_bytes", "off", &comment);
        } else {
            paper.number(log, "file_bytes", size, "", &comment);
        }
    }
    if let (Some(flags), "w3c") = (fields, form) {
        let bits = number(&flags);
        let chosen: Vec<&str> = FIELDS
            .iter()
            .filter(|(bit, name, _)| match bits {
                Some(bits) => bits & bit != 0,
                None => flags
                    .split(['|', ','])
                    .any(|flag| flag.trim().eq_ignore_ascii_case(name)),
            })
            .map(|(.., field)| *field)
            .collect();
        if !chosen.is_empty() {
            let comment = format!("LogExtFileFlags = {flags}.");
            paper.put(log, "fields", &chosen.join(", "), &comment);
        }
    }
}
