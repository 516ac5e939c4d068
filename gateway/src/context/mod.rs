//! `$context`: what API Gateway calls what is known of a request.

pub(crate) mod format;
pub(crate) mod variable;

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::calendar::civil_from_days;

/// `$context.extendedRequestId` of REST APIs: the first eleven bytes of the request's id, as API Gateway writes its own.
pub(crate) fn extended_request_id(request_id: &str) -> String {
    let mut digits = request_id.bytes().filter_map(|digit| char::from(digit).to_digit(16));
    let mut bytes = [0_u8; 11];
    for byte in &mut bytes {
        let (high, low) = (digits.next().unwrap_or(0), digits.next().unwrap_or(0));
        *byte = u8::try_from(high << 4 | low).unwrap_or_default();
    }
    STANDARD.encode(bytes)
}

/// A time as the Common Log Format has it: `10/Oct/2000:13:55:36 +0000`.
pub(crate) fn clf_time(time_us: i64) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = time_us.div_euclid(1_000_000);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let month = usize::try_from(month - 1).map_or("", |month| MONTHS[month]);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{day:02}/{month}/{year}:{hour:02}:{minute:02}:{second:02} +0000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_common_log_format_has_them() {
        for (seconds, text) in [
            (0, "01/Jan/1970:00:00:00 +0000"),
            (971_186_136, "10/Oct/2000:13:55:36 +0000"),
            (1_709_164_800, "29/Feb/2024:00:00:00 +0000"),
            (-1, "31/Dec/1969:23:59:59 +0000"),
        ] {
            assert_eq!(clf_time(seconds * 1_000_000), text);
        }
    }

    #[test]
    fn an_extended_id_looks_like_those_of_api_gateway() {
        let id = extended_request_id("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0");
        assert_eq!((id.len(), id.as_str()), (16, "Dx4tPEtaaXiHlqU="));
    }
}
