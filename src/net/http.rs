//! Reads one HTTP/1.1 response (RFC 9112), as much of it as a client needs that asks for one small text.
//!
//! Trust: none. The caller bounds what it hands over; nothing is followed, nothing is stored, no length is believed
//! before its bytes are there.

use std::fmt;

/// A response with its whole body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 200 and so on.
    pub status: u16,
    /// The media type without its parameters, in lower case; empty when there is none.
    pub media: String,
    /// The body, decoded from chunks.
    pub body: Vec<u8>,
}

/// Why it cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadResponse {
    /// It is not HTTP/1.
    NotHttp,
    /// A header field or a chunk that breaks the rules, or two that contradict each other.
    Malformed,
    /// The stream ended in the middle of it.
    Cut,
    /// It is larger than the caller takes.
    TooLarge,
}

impl fmt::Display for BadResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotHttp => "what comes back is not HTTP",
            Self::Malformed => "the response breaks the rules of HTTP",
            Self::Cut => "the response ends in the middle",
            Self::TooLarge => "the response is too large",
        })
    }
}

impl std::error::Error for BadResponse {}

/// How the body's end is told (RFC 9112 s6.3).
enum Length {
    Known(usize),
    Chunked,
    UntilClosed,
}

/// Reads what has come so far; `closed` says that nothing will follow. `None`: more is needed.
pub fn read(bytes: &[u8], closed: bool) -> Result<Option<Response>, BadResponse> {
    let mut bytes = bytes;
    loop {
        if !bytes.starts_with(b"HTTP/1.".get(..bytes.len().min(7)).unwrap_or_default()) {
            return Err(BadResponse::NotHttp);
        }
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return unfinished(closed);
        };
        let (head, body) = bytes
            .split_at_checked(end.saturating_add(4))
            .unwrap_or((bytes, &[]));
        let head = std::str::from_utf8(head).map_err(|_| BadResponse::Malformed)?;
        let (status, media, length) = read_head(head)?;
        if (100..200).contains(&status) {
            // It says that the real one is to come (RFC 9110 s15.2).
            bytes = body;
            if bytes.is_empty() {
                return unfinished(closed);
            }
            continue;
        }
        let whole = match length {
            Length::Known(length) => body.get(..length).map(<[u8]>::to_vec),
            Length::Chunked => chunks(body)?,
            Length::UntilClosed => closed.then(|| body.to_vec()),
        };
        return match whole {
            Some(body) => Ok(Some(Response {
                status,
                media,
                body,
            })),
            None => unfinished(closed),
        };
    }
}

fn unfinished(closed: bool) -> Result<Option<Response>, BadResponse> {
    if closed {
        Err(BadResponse::Cut)
    } else {
        Ok(None)
    }
}

fn read_head(head: &str) -> Result<(u16, String, Length), BadResponse> {
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().splitn(3, ' ');
    let (_, code) = (first.next(), first.next().unwrap_or_default());
    let digits = code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit());
    let status = code.parse().ok().filter(|_| digits);
    let status = status.ok_or(BadResponse::NotHttp)?;
    let (mut media, mut length, mut chunked) = (String::new(), None, false);
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or(BadResponse::Malformed)?;
        let (name, value) = (name.to_ascii_lowercase(), value.trim());
        match name.as_str() {
            "content-type" => {
                let kind = value.split(';').next().unwrap_or_default();
                media = kind.trim().to_ascii_lowercase();
            }
            "content-length" => {
                let digits =
                    (1..=9).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
                let number = value.parse::<usize>().ok().filter(|_| digits);
                let number = number.ok_or(BadResponse::Malformed)?;
                if length.is_some_and(|known| known != number) {
                    return Err(BadResponse::Malformed);
                }
                length = Some(number);
            }
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => chunked = true,
            "transfer-encoding" => return Err(BadResponse::Malformed),
            _ => {}
        }
    }
    let length = match (chunked, length) {
        // RFC 9112 s6.3: both is how responses are smuggled.
        (true, Some(_)) => return Err(BadResponse::Malformed),
        (true, None) => Length::Chunked,
        (false, Some(length)) => Length::Known(length),
        (false, None) => Length::UntilClosed,
    };
    Ok((status, media, length))
}

/// Joins the chunks (RFC 9112 s7.1); `None` while the last one has not come. Trailers are passed over.
fn chunks(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, BadResponse> {
    let mut body = Vec::new();
    loop {
        let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let line = bytes.get(..end).unwrap_or_default();
        let size = line.split(|&byte| byte == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(size).map_err(|_| BadResponse::Malformed)?;
        let size = size.trim_end();
        let fits = (1..=7).contains(&size.len()) && size.bytes().all(|b| b.is_ascii_hexdigit());
        if !fits {
            return Err(BadResponse::Malformed);
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| BadResponse::Malformed)?;
        let rest = bytes.get(end.saturating_add(2)..).unwrap_or_default();
        if size == 0 {
            let over = rest.starts_with(b"\r\n") || rest.windows(4).any(|four| four == b"\r\n\r\n");
            return Ok(over.then_some(body));
        }
        let (Some(chunk), Some(after)) = (rest.get(..size), rest.get(size..size.saturating_add(2)))
        else {
            return Ok(None);
        };
        if after != b"\r\n" {
            return Err(BadResponse::Malformed);
        }
        body.extend_from_slice(chunk);
        bytes = rest.get(size.saturating_add(2)..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::{BadResponse, Response, read};

    fn response(status: u16, media: &str, body: &str) -> Response {
        Response {
            status,
            media: media.to_owned(),
            body: body.as_bytes().to_vec(),
        }
    }

    /// Reads it cut everywhere; only the whole may be an answer.
    fn at_every_cut(text: &str) -> Result<Option<Response>, BadResponse> {
        for cut in 0..text.len() {
            let part = &text.as_bytes()[..cut];
            assert_eq!(read(part, false), Ok(None), "cut at {cut}");
            assert!(read(part, true).is_err(), "closed at {cut}");
        }
        read(text.as_bytes(), false)
    }

    #[test]
    fn responses_that_say_where_they_end() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Type: Text/Plain; charset=utf-8\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 \r\nserver: x\r\ncontent-type:text/plain\r\ncontent-length:5\r\n\r\nhello",
            "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n2\r\nhe\r\n03;a=b\r\nllo\r\n0\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
        ] {
            let want = response(200, "text/plain", "hello");
            assert_eq!(at_every_cut(text), Ok(Some(want)), "{text}");
        }
        let trailer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n";
        assert_eq!(at_every_cut(trailer), Ok(Some(response(200, "", ""))));
    }

    #[test]
    fn a_response_may_end_with_the_stream() {
        let text = b"HTTP/1.0 404 Not Found\r\nContent-Type: text/html\r\n\r\n<p>gone";
        assert_eq!(read(text, false), Ok(None));
        assert_eq!(
            read(text, true),
            Ok(Some(response(404, "text/html", "<p>gone")))
        );
    }

    #[test]
    fn what_breaks_the_rules() {
        for (text, want) in [
            ("SSH-2.0-x\r\n", BadResponse::NotHttp),
            ("HTTP/2 200\r\n\r\n", BadResponse::NotHttp),
            ("HTTP/1.1 abc\r\n\r\n", BadResponse::NotHttp),
            ("HTTP/1.1 2000\r\n\r\n", BadResponse::NotHttp),
            (
                "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
                BadResponse::Malformed,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                BadResponse::Malformed,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
                BadResponse::Malformed,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
                BadResponse::Malformed,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
                BadResponse::Malformed,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
                BadResponse::Malformed,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
                BadResponse::Malformed,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\n",
                BadResponse::Malformed,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
                BadResponse::Malformed,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
                BadResponse::Malformed,
            ),
        ] {
            assert_eq!(read(text.as_bytes(), false), Err(want), "{text:?}");
        }
    }
}
