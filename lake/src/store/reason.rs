//! What a store or the table library said, on one line: for messages, which name what was tried and where by themselves.

use std::error::Error;

use delta_kernel::KernelError;

/// No message is longer than this many characters: some stores answer with a page.
const LONGEST: usize = 300;

/// The code and message of S3's answer (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>), or
/// else the innermost cause.
pub(crate) fn reason(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    answer(&error.to_string()).unwrap_or_else(|| one_line(&innermost.to_string()))
}

/// The same of the kernel's errors, which append a backtrace to their text when the environment asks for one.
pub(crate) fn reason_of_kernel(error: &KernelError) -> String {
    let text = match error {
        KernelError::Generic(text) => text.clone(),
        other => other.without_backtrace().to_string(),
    };
    answer(&text).unwrap_or_else(|| one_line(&text))
}

fn answer(text: &str) -> Option<String> {
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(value, _)| value)
    };
    let code = element("Code")?;
    Some(one_line(&element("Message").map_or_else(|| code.to_owned(), |message| format!("{code}: {message}"))))
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use object_store::Error as StoreError;

    use super::*;

    #[test]
    fn an_answer_of_s3_is_told_by_its_code_and_message() {
        let answer = "status 404: <?xml?>\n<Error><Code>NoSuchBucket</Code><Message>There is\nnone</Message></Error>";
        let error = StoreError::Generic { store: "S3", source: answer.into() };
        assert_eq!(reason(&error), "NoSuchBucket: There is none");
        let error = StoreError::Generic { store: "S3", source: io::Error::other("refused").into() };
        assert_eq!(reason(&error), "refused");
    }

    #[test]
    fn a_page_is_cut() {
        let error = StoreError::Generic { store: "S3", source: "é\n".repeat(10_000).into() };
        assert_eq!(reason(&error).chars().count(), LONGEST + 2);
    }

    #[test]
    fn the_kernel_s_backtrace_is_not_told() {
        let error = KernelError::generic("torn").with_backtrace();
        assert_eq!(reason_of_kernel(&error).matches("torn").count(), 1);
        assert!(!reason_of_kernel(&error).contains("stack backtrace"), "{}", reason_of_kernel(&error));
    }
}
