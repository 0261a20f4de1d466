//! What is known of the mail providers that people have accounts with: host, port, account name, and which password
//! they want. A port of 465 is TLS from the first byte, any other STARTTLS; both verified.

/// One provider.
#[derive(Debug)]
pub struct Provider {
    /// What it is called.
    pub name: &'static str,
    /// The domains of its addresses; one that ends in a dot stands for it in every country.
    pub domains: &'static [&'static str],
    /// Its smart host.
    pub host: &'static str,
    /// The port.
    pub port: u16,
    /// What the account is called there.
    pub user: User,
    /// Whether it wants an OAuth 2 access token and takes no password.
    pub token: bool,
    /// Which password it wants, and where that is made.
    pub hint: &'static str,
}

/// What an account is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// The address.
    Address,
    /// The same for everybody.
    Is(&'static str),
    /// A name that the provider gave; the text says where it stands.
    Given(&'static str),
}

const fn mailbox(
    name: &'static str,
    domains: &'static [&'static str],
    host: &'static str,
    port: u16,
    hint: &'static str,
) -> Provider {
    Provider {
        name,
        domains,
        host,
        port,
        user: User::Address,
        token: false,
        hint,
    }
}

const fn service(
    name: &'static str,
    host: &'static str,
    port: u16,
    user: User,
    hint: &'static str,
) -> Provider {
    Provider {
        name,
        domains: &[],
        host,
        port,
        user,
        token: false,
        hint,
    }
}

/// Those with addresses of their own first, then those that send for everybody.
pub const PROVIDERS: &[Provider] = &[
    mailbox(
        "Gmail",
        &["gmail.com", "googlemail.com"],
        "smtp.gmail.com",
        587,
        "an app password of 16 letters, made at https://myaccount.google.com/apppasswords (two-step verification must be on)",
    ),
    Provider {
        token: true,
        ..mailbox(
            "Outlook.com",
            &["outlook.", "hotmail.", "live.", "msn.com"],
            "smtp-mail.outlook.com",
            587,
            "an OAuth 2 access token: Microsoft takes no passwords for these addresses, and whoever renews the token \
             writes it into the file",
        )
    },
    mailbox(
        "Microsoft 365",
        &["onmicrosoft.com"],
        "smtp.office365.com",
        587,
        "the password of the mailbox, for which its administrator has to allow authenticated SMTP, or an OAuth 2 \
         access token in token_file",
    ),
    mailbox(
        "Yahoo",
        &["yahoo.", "ymail.com", "rocketmail.com"],
        "smtp.mail.yahoo.com",
        465,
        "an app password, made under account security at https://login.yahoo.com/account/security",
    ),
    mailbox(
        "AOL",
        &["aol.com"],
        "smtp.aol.com",
        465,
        "an app password, made under account security at https://login.aol.com/account/security",
    ),
    mailbox(
        "iCloud",
        &["icloud.com", "me.com", "mac.com"],
        "smtp.mail.me.com",
        587,
        "an app-specific password, made at https://account.apple.com under sign-in and security",
    ),
    mailbox(
        "GMX",
        &["gmx.de", "gmx.net", "gmx.at", "gmx.ch"],
        "mail.gmx.net",
        587,
        "the password of the mailbox, for which POP3 and IMAP must be allowed in its settings; with two-factor login an \
         app-specific one",
    ),
    mailbox(
        "GMX International",
        &["gmx.com", "gmx.us", "mail.com"],
        "mail.gmx.com",
        587,
        "the password of the mailbox, for which POP3 and IMAP must be allowed in its settings; with two-factor login an \
         app-specific one",
    ),
    mailbox(
        "WEB.DE",
        &["web.de"],
        "smtp.web.de",
        587,
        "the password of the mailbox, for which POP3 and IMAP must be allowed in its settings; with two-factor login an \
         app-specific one",
    ),
    mailbox(
        "T-Online",
        &["t-online.de", "magenta.de"],
        "securesmtp.t-online.de",
        465,
        "the e-mail password, which is set apart from that of the account",
    ),
    mailbox(
        "Fastmail",
        &["fastmail.com", "fastmail.fm"],
        "smtp.fastmail.com",
        465,
        "an app password for SMTP, made under privacy and security",
    ),
    mailbox(
        "Zoho",
        &["zoho.com", "zohomail.com"],
        "smtp.zoho.com",
        465,
        "the password of the account, or with two-factor login an application-specific one, made at https://accounts.zoho.com",
    ),
    mailbox(
        "Zoho Europe",
        &["zoho.eu", "zohomail.eu"],
        "smtp.zoho.eu",
        465,
        "the password of the account, or with two-factor login an application-specific one, made at https://accounts.zoho.eu",
    ),
    mailbox(
        "Proton",
        &["proton.me", "protonmail.com", "pm.me"],
        "smtp.protonmail.ch",
        587,
        "an SMTP token, made in the settings under IMAP/SMTP; only for addresses of a domain of one's own, on paid plans",
    ),
    mailbox(
        "mailbox.org",
        &["mailbox.org"],
        "smtp.mailbox.org",
        465,
        "the password of the account, or with two-factor login an application password",
    ),
    mailbox(
        "Posteo",
        &["posteo."],
        "posteo.de",
        465,
        "the password of the account",
    ),
    mailbox(
        "Yandex",
        &["yandex.", "ya.ru"],
        "smtp.yandex.com",
        465,
        "an app password for mail, made at https://id.yandex.com/security/app-passwords",
    ),
    service(
        "Mailgun",
        "smtp.mailgun.org",
        587,
        User::Given("the SMTP login of the sending domain, such as postmaster@mg.example.com"),
        "the password of that SMTP login, not an API key",
    ),
    service(
        "SendGrid",
        "smtp.sendgrid.net",
        587,
        User::Is("apikey"),
        "an API key that may send mail; it begins with SG.",
    ),
    service(
        "Amazon SES",
        "email-smtp.us-east-1.amazonaws.com",
        587,
        User::Given("the SMTP user name, made in the SES console; the host is that of the region"),
        "the SMTP password made with that name, not the secret key of an AWS account",
    ),
    service(
        "Postmark",
        "smtp.postmarkapp.com",
        587,
        User::Given("the server API token, or the access key of an SMTP token"),
        "the same token once more, or the secret key of the SMTP token",
    ),
    service(
        "Mailjet",
        "in-v3.mailjet.com",
        587,
        User::Given("the API key"),
        "the secret key",
    ),
    service(
        "Brevo",
        "smtp-relay.brevo.com",
        587,
        User::Given("the SMTP login, shown under SMTP and API"),
        "an SMTP key, not an API key",
    ),
    service(
        "SMTP2GO",
        "mail.smtp2go.com",
        587,
        User::Given("the name of an SMTP user"),
        "the password of that SMTP user",
    ),
];

/// The provider of an address, or of this name: letters and digits of it count, and a part from its start is enough.
pub fn find(text: &str) -> Option<&'static Provider> {
    let text = text.trim().to_ascii_lowercase();
    if let Some((_, domain)) = text.rsplit_once('@') {
        return PROVIDERS.iter().find(|provider| {
            provider.domains.iter().any(|known| {
                domain == *known
                    || (known.ends_with('.') && domain.starts_with(known))
                    || (*known == "onmicrosoft.com" && domain.ends_with(".onmicrosoft.com"))
            })
        });
    }
    let slim = |text: &str| -> String {
        let kept = text.chars().filter(char::is_ascii_alphanumeric);
        kept.collect::<String>().to_ascii_lowercase()
    };
    let wanted = slim(&text);
    // Shorter ones are nobody's name; a host name is not meant either.
    if wanted.len() < 3 || text.contains('.') {
        return None;
    }
    let named = |provider: &&Provider| {
        let name = slim(provider.name);
        name.starts_with(&wanted) || name.strip_prefix("amazon").is_some_and(|it| it == wanted)
    };
    PROVIDERS.iter().find(named)
}

#[cfg(test)]
mod tests {
    use super::{PROVIDERS, find};
    use crate::config::kind::Kind;

    #[test]
    fn an_address_or_a_name_finds_its_provider() {
        for (text, want) in [
            ("me@gmail.com", Some("Gmail")),
            ("Me@GoogleMail.com", Some("Gmail")),
            ("a.b@hotmail.co.uk", Some("Outlook.com")),
            ("x@yahoo.co.jp", Some("Yahoo")),
            ("x@firm.onmicrosoft.com", Some("Microsoft 365")),
            ("x@gmx.de", Some("GMX")),
            ("x@gmx.com", Some("GMX International")),
            ("x@example.com", None),
            ("x@notgmail.com", None),
            ("x@yahoo", None),
            ("sendgrid", Some("SendGrid")),
            ("SES", Some("Amazon SES")),
            ("amazon ses", Some("Amazon SES")),
            ("Microsoft 365", Some("Microsoft 365")),
            ("smtp.example.com", None),
            ("mx", None),
            ("", None),
        ] {
            assert_eq!(find(text).map(|found| found.name), want, "{text}");
        }
    }

    #[test]
    fn every_host_can_be_a_setting() {
        for provider in PROVIDERS {
            let host = format!("{}:{}", provider.host, provider.port);
            assert!(Kind::Host.read(&host).is_ok(), "{host}");
            assert!(!provider.hint.is_empty() && provider.domains.iter().all(|d| d.is_ascii()));
        }
    }
}
