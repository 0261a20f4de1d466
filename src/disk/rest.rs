//! Gives back what work needed of memory once there is nothing to do.
//!
//! The kernel maps the program's code a neighbourhood at a time as it is needed, and after one message most of it is
//! there: eight tenths of what an idle service takes. A box with little memory has better uses for it. Given back, the
//! pages stay in the kernel's cache of the file as long as nobody needs their room, and come back as they are needed:
//! some dozens of faults, once a burst.

#![allow(
    unsafe_code,
    reason = "no safe call tells the kernel what is not needed any more"
)]

use std::ffi::c_void;
use std::fs;
use std::ops::Range;

use rustix::mm::Advice;

/// Gives back the code of this program. Says how many bytes of it there are: none where `/proc` is not mounted or the
/// kernel does not want to, and that does no harm.
pub fn give_back() -> usize {
    let (Ok(maps), Ok(program)) = (
        fs::read_to_string("/proc/self/maps"),
        fs::read_link("/proc/self/exe"),
    ) else {
        return 0;
    };
    let Some(program) = program.to_str() else {
        return 0;
    };
    maps.lines()
        .filter_map(|line| code(line, program))
        .filter(forget)
        .map(|range| range.len())
        .sum()
}

/// The addresses in a line of `/proc/self/maps` (proc(5)) that says where code of `program` lies: readable, executable
/// and private. What can be written is never given back, for it would be lost.
fn code(line: &str, program: &str) -> Option<Range<usize>> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let is_code = words.next()? == "r-xp";
    // Offset, device and number of the file, then its name.
    let is_file = words.nth(3)? == program;
    let address = |hex| usize::from_str_radix(hex, 16).ok();
    (is_code && is_file).then_some(address(start)?..address(end)?)
}

/// Tells the kernel that these pages are not needed now.
fn forget(range: &Range<usize>) -> bool {
    let start = std::ptr::with_exposed_provenance_mut::<c_void>(range.start);
    // SAFETY: the pages are a private mapping of a file that cannot be written to while it runs, and were never
    // writable themselves: a position-independent program without text relocations. So what the kernel reads again is
    // what it forgets.
    unsafe { rustix::mm::madvise(start, range.len(), Advice::LinuxDontNeed) }.is_ok()
}

#[cfg(test)]
mod tests {
    use super::{code, give_back};

    #[test]
    fn only_private_code_of_the_program_itself_is_given_back() {
        let program = "/usr/bin/mail root";
        let line = |rest: &str| code(&format!("7f00-8f00 {rest}"), program);
        assert_eq!(line("r-xp 000ca000 fe:00 129 /usr/bin/mail root"), None);
        let program = "/usr/bin/mailroot";
        let line = |rest: &str| code(&format!("7f00-8f00 {rest}"), program);
        assert_eq!(
            line("r-xp 000ca000 fe:00 129          /usr/bin/mailroot"),
            Some(0x7f00..0x8f00)
        );
        for other in [
            "r--p 00000000 fe:00 129 /usr/bin/mailroot",
            "rw-p 000f0000 fe:00 129 /usr/bin/mailroot",
            "rwxp 000f0000 fe:00 129 /usr/bin/mailroot",
            "r-xs 000ca000 fe:00 129 /usr/bin/mailroot",
            "r-xp 000ca000 fe:00 130 /lib/libc.so.6",
            "r-xp 00000000 00:00 0 [vdso]",
            "r-xp 00000000 00:00 0",
            "r-xp",
            "",
        ] {
            assert_eq!(line(other), None, "{other}");
        }
        assert_eq!(code("7f00 r-xp 0 0 0 /usr/bin/mailroot", program), None);
    }

    #[test]
    fn work_goes_on_after_it() {
        for _ in 0..3 {
            assert!(give_back() > 0);
            assert_eq!("a b".split(' ').count(), 2);
        }
    }
}
