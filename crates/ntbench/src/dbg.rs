//! DbgPrint and its format language.
#![allow(unsafe_code)] // Variadic arguments and the strings that they point to.
#![allow(non_snake_case)] // Exported names.

use std::ffi::{CStr, c_char};

use nt_abi::{Export, NtStatus, UNICODE_STRING};

use crate::{rtl, trace, verifier};

/// What this file exports.
pub(crate) const EXPORTS: &[Export] = &[
    Export::new("ntoskrnl.exe", "DbgPrint", DbgPrint as *const ()),
    Export::new("ntoskrnl.exe", "DbgPrintEx", DbgPrintEx as *const ()),
    Export::new("ntoskrnl.exe", "vDbgPrintEx", vDbgPrintEx as *const ()),
    Export::new("ntoskrnl.exe", "DbgBreakPoint", DbgBreakPoint as *const ()),
    Export::new("ntoskrnl.exe", "DbgBreakPointWithStatus", DbgBreakPoint as *const ()),
];

/// The arguments of a call, one eightbyte each, as the win64 ABI lays out variadic ones.
struct Arguments<'a>(std::slice::Iter<'a, usize>);

impl Arguments<'_> {
    fn next(&mut self) -> usize {
        self.0.next().copied().unwrap_or(0)
    }
}

/// One conversion: flags, width, precision, length, letter.
#[derive(Default)]
struct Conversion {
    left: bool,
    zero: bool,
    plus: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
    long: u8,
    wide: bool,
}

/// Formats as the kernel does: integers in their widths, `%s %S %ws %wZ %Z %c %p`. Floating point is not there.
///
/// # Safety
/// The format is terminated, and the arguments fit it.
unsafe fn format(format: *const c_char, arguments: &[usize]) -> String {
    // SAFETY: the caller vouches for it.
    let format = unsafe { CStr::from_ptr(format) }.to_string_lossy();
    let mut arguments = Arguments(arguments.iter());
    let mut out = String::new();
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let conversion = Conversion::parse(&mut rest, &mut arguments);
        let letter = rest.next().unwrap_or('%');
        // SAFETY: as above.
        let text = unsafe { conversion.apply(letter, &mut arguments) };
        out.push_str(&conversion.pad(text, letter));
    }
    out
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn number(rest: &mut Chars<'_>, arguments: &mut Arguments<'_>) -> usize {
    if rest.next_if_eq(&'*').is_some() {
        return arguments.next() as u32 as usize;
    }
    let mut value = 0;
    while let Some(digit) = rest.peek().and_then(|c| c.to_digit(10)) {
        value = (value * 10 + digit as usize).min(4096);
        rest.next();
    }
    value
}

impl Conversion {
    fn parse(rest: &mut Chars<'_>, arguments: &mut Arguments<'_>) -> Conversion {
        let mut c = Conversion::default();
        while let Some(flag) = rest.next_if(|c| "-0+# ".contains(*c)) {
            match flag {
                '-' => c.left = true,
                '0' => c.zero = true,
                '+' => c.plus = true,
                '#' => c.alternate = true,
                _ => {}
            }
        }
        c.width = number(rest, arguments);
        if rest.next_if_eq(&'.').is_some() {
            c.precision = Some(number(rest, arguments));
        }
        c.length(rest);
        c
    }

    fn length(&mut self, rest: &mut Chars<'_>) {
        while let Some(length) = rest.next_if(|c| "hlwIjzt".contains(*c)) {
            match length {
                'l' => self.long += 1,
                'w' => self.wide = true,
                'j' | 'z' | 't' => self.long = 2,
                'I' => {
                    self.long = 2;
                    let digits: String = std::iter::from_fn(|| rest.next_if(char::is_ascii_digit)).collect();
                    self.long = if digits == "32" { 0 } else { 2 };
                }
                _ => {}
            }
        }
    }

    /// # Safety
    /// The next argument fits `letter`.
    unsafe fn apply(&self, letter: char, arguments: &mut Arguments<'_>) -> String {
        // LLP64: a long is four bytes.
        let unsigned = |value: usize| if self.long >= 2 { value as u64 } else { u64::from(value as u32) };
        match letter {
            '%' => "%".into(),
            'd' | 'i' => {
                let value = arguments.next();
                let value = if self.long >= 2 { value as i64 } else { i64::from(value as u32 as i32) };
                let sign = if self.plus && value >= 0 { "+" } else { "" };
                format!("{sign}{value}")
            }
            'u' => unsigned(arguments.next()).to_string(),
            'x' if self.alternate => format!("{:#x}", unsigned(arguments.next())),
            'x' => format!("{:x}", unsigned(arguments.next())),
            'X' if self.alternate => format!("0X{:X}", unsigned(arguments.next())),
            'X' => format!("{:X}", unsigned(arguments.next())),
            'o' => format!("{:o}", unsigned(arguments.next())),
            'p' => format!("{:016X}", arguments.next()),
            'c' | 'C' => char::from_u32(arguments.next() as u32 & 0xffff).unwrap_or('?').into(),
            // SAFETY: passed on.
            's' | 'S' | 'Z' => unsafe { self.text(letter, arguments.next()) },
            other => format!("%{other}"),
        }
    }

    /// # Safety
    /// `argument` points to a string of the kind that the conversion says, or is null.
    unsafe fn text(&self, letter: char, argument: usize) -> String {
        if argument == 0 {
            return "(null)".into();
        }
        let limit = self.precision.unwrap_or(4096);
        let wide = self.wide || self.long > 0;
        // SAFETY: the caller vouches for the argument; no more is read than the precision says.
        unsafe {
            match (letter, wide) {
                ('Z', _) => rtl::string(argument as *const UNICODE_STRING).unwrap_or_default(),
                ('s', true) | ('S', false) => {
                    let units = (0..limit).map(|i| *(argument as *const u16).add(i)).take_while(|&unit| unit != 0);
                    String::from_utf16_lossy(&units.collect::<Vec<_>>())
                }
                _ => {
                    let bytes = (0..limit).map(|i| *(argument as *const u8).add(i)).take_while(|&byte| byte != 0);
                    String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
                }
            }
        }
    }

    fn pad(&self, mut text: String, letter: char) -> String {
        let numeric = "diuxXop".contains(letter);
        let digits = text.trim_start_matches(['-', '+']).len();
        if let Some(precision) = self.precision.filter(|&p| numeric && p > digits) {
            text.insert_str(text.len() - digits, &"0".repeat(precision - digits));
        }
        let missing = self.width.saturating_sub(text.chars().count());
        if self.left {
            text.push_str(&" ".repeat(missing));
        } else if self.zero && numeric {
            let sign = usize::from(text.starts_with(['-', '+']));
            text.insert_str(sign, &"0".repeat(missing));
        } else {
            text.insert_str(0, &" ".repeat(missing));
        }
        text
    }
}

/// `DPFLTR_DEFAULT_ID` and `DPFLTR_INFO_LEVEL`: what DbgPrint prints under.
pub(crate) const DEFAULT: (u32, u32) = (101, 3);

fn print((component, level): (u32, u32), text: String) -> NtStatus {
    trace::emit(trace::Kind::DbgPrint { component, level, text });
    NtStatus::SUCCESS
}

/// How a component and a level of DbgPrintEx are called, as far as drivers are to use them.
/// [Reading and filtering debugging messages](https://learn.microsoft.com/windows-hardware/drivers/debugger/reading-and-filtering-debugging-messages)
pub(crate) fn filter_name(component: u32, level: u32) -> String {
    let component = match component {
        77 => "ihvdriver".into(),
        78 => "ihvvideo".into(),
        79 => "ihvaudio".into(),
        80 => "ihvnetwork".into(),
        81 => "ihvstreaming".into(),
        82 => "ihvbus".into(),
        101 => "default".into(),
        other => format!("component {other}"),
    };
    match level {
        0 => format!("{component} error"),
        1 => format!("{component} warning"),
        2 => format!("{component} trace"),
        3 => format!("{component} info"),
        other => format!("{component} level {other:#x}"),
    }
}

/// The variadic arguments are declared as many eightbytes: the callee reads what the format asks for.
///
/// # IRQL
/// <= DIRQL
#[allow(clippy::too_many_arguments)] // A variadic function.
unsafe extern "win64" fn DbgPrint(
    text: *const c_char,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
    g: usize,
    h: usize,
    i: usize,
    j: usize,
    k: usize,
    l: usize,
) -> NtStatus {
    // SAFETY: the driver passed a format and arguments that fit it.
    print(DEFAULT, unsafe { format(text, &[a, b, c, d, e, f, g, h, i, j, k, l]) })
}

/// # IRQL
/// <= DIRQL
#[allow(clippy::too_many_arguments)] // A variadic function.
unsafe extern "win64" fn DbgPrintEx(
    component: u32,
    level: u32,
    text: *const c_char,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
    g: usize,
    h: usize,
    i: usize,
    j: usize,
    k: usize,
    l: usize,
) -> NtStatus {
    // SAFETY: the driver passed a format and arguments that fit it.
    print((component, level), unsafe { format(text, &[a, b, c, d, e, f, g, h, i, j, k, l]) })
}

/// # IRQL
/// <= DIRQL
unsafe extern "win64" fn vDbgPrintEx(component: u32, level: u32, text: *const c_char, list: *const usize) -> NtStatus {
    // SAFETY: a win64 argument list is an array of eightbytes.
    let arguments: Vec<usize> = (0..12).map(|i| unsafe { *list.add(i) }).collect();
    // SAFETY: the driver passed a format and arguments that fit it.
    print((component, level), unsafe { format(text, &arguments) })
}

/// # IRQL
/// Any
extern "win64" fn DbgBreakPoint() {
    verifier::violation("breakpoint", "the driver stops for a debugger");
}

#[cfg(test)]
mod tests {
    use super::format;

    fn run(text: &std::ffi::CStr, arguments: &[usize]) -> String {
        // SAFETY: the tests' arguments fit their formats.
        unsafe { format(text.as_ptr(), arguments) }
    }

    #[test]
    fn integers_have_their_widths() {
        assert_eq!(run(c"%d %u %x", &[0xffff_ffff, 0xffff_ffff, 0x1_0000_000f]), "-1 4294967295 f");
        assert_eq!(run(c"%I64d %llu %lu", &[usize::MAX, 5, 0x1_0000_0002]), "-1 5 2");
        assert_eq!(run(c"[%08x] [%-4d] [%4d] [%#x] [%.3d]", &[0xab, 7, 7, 255, 5]), "[000000ab] [7   ] [   7] [0xff] [005]");
        assert_eq!(run(c"100%% %c", &[usize::from(b'x')]), "100% x");
    }

    #[test]
    fn strings_of_each_kind() {
        let wide: Vec<u16> = "wide\0".encode_utf16().collect();
        let counted = crate::rtl::leak("counted");
        let counted = &raw const counted as usize;
        let arguments = [c"narrow".as_ptr() as usize, wide.as_ptr() as usize, wide.as_ptr() as usize, counted];
        assert_eq!(run(c"%s %S %ws %wZ", &arguments), "narrow wide wide counted");
        assert_eq!(run(c"%.3s|%8s|%s", &[c"narrow".as_ptr() as usize, c"x".as_ptr() as usize, 0]), "nar|       x|(null)");
        assert_eq!(run(c"%.*s", &[2, c"narrow".as_ptr() as usize]), "na");
    }
}
