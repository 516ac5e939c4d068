//! What a function is called: by its name, by an ARN, or by the URI that API Gateway gives its integrations.

use crate::percent::encoded;

/// What would be right, in words.
pub(crate) const EXPECTED: &str = "a function's name or ARN: \"orders\", \"orders:live\", \
    \"arn:aws:lambda:eu-central-1:123456789012:function:orders\", \
    or \"arn:aws:apigateway:…:lambda:path/2015-03-31/functions/ARN/invocations\"";

/// A function, as the Invoke API wants it named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FunctionName {
    /// Its name, or its ARN.
    pub name: String,
    /// The region that the ARN names.
    pub region: Option<String>,
}

impl FunctionName {
    /// Reads a name.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("is {text:?}");
        let inner = match text.split_once(":lambda:path/") {
            Some((gateway, path)) if gateway.starts_with("arn:") && gateway.contains(":apigateway:") => {
                let function = path.split_once("/functions/").map(|(_, function)| function).ok_or_else(wrong)?;
                function.strip_suffix("/invocations").ok_or_else(wrong)?
            }
            _ => text,
        };
        let parts: Vec<&str> = inner.split(':').collect();
        let (region, name, qualifier) = match parts[..] {
            ["arn", partition, "lambda", region, account, "function", name, ..]
                if partition.starts_with("aws") && is_account(account) && is_word(region) && parts.len() <= 8 =>
            {
                (Some(region.to_owned()), name, parts.get(7))
            }
            [account, "function", name, ..] if is_account(account) && parts.len() <= 4 => (None, name, parts.get(3)),
            [name, ..] if parts.len() <= 2 => (None, name, parts.get(1)),
            _ => return Err(wrong()),
        };
        if !is_word(name) || name.len() > 64 || !qualifier.is_none_or(|qualifier| is_qualifier(qualifier)) {
            return Err(wrong());
        }
        Ok(Self { name: inner.to_owned(), region })
    }

    /// The path and query of a call to it, after this path.
    pub(crate) fn path(&self, before: &str, qualifier: Option<&str>) -> String {
        let mut path = format!("{before}/2015-03-31/functions/");
        path.push_str(&encoded(&self.name));
        path.push_str("/invocations");
        if let Some(qualifier) = qualifier {
            path.push_str("?Qualifier=");
            path.push_str(&encoded(qualifier));
        }
        path
    }
}

/// Whether it can be a version or an alias of a function.
pub(crate) fn is_qualifier(text: &str) -> bool {
    text == "$LATEST" || (is_word(text) && text.len() <= 128)
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|digit| digit.is_ascii_digit())
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:lambda:eu-central-1:123456789012:function:orders";

    #[test]
    fn each_way_to_name_a_function_is_read() {
        let uri = format!("arn:aws:apigateway:eu-central-1:lambda:path/2015-03-31/functions/{ARN}/invocations");
        for (text, name, region) in [
            ("orders", "orders", None),
            ("orders:live", "orders:live", None),
            ("orders:$LATEST", "orders:$LATEST", None),
            ("123456789012:function:orders", "123456789012:function:orders", None),
            (ARN, ARN, Some("eu-central-1")),
            (&uri, ARN, Some("eu-central-1")),
        ] {
            let read = FunctionName::parse(text).unwrap();
            assert_eq!((&read.name[..], read.region.as_deref()), (name, region), "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            "a b",
            "a:b:c",
            "a/../b",
            "arn:aws:s3:eu-central-1:123456789012:function:orders",
            "arn:aws:lambda:eu-central-1:1:function:orders",
            "arn:aws:lambda:eu-central-1:123456789012:function:orders:a:b",
            "arn:aws:apigateway:eu-central-1:lambda:path/2015-03-31/functions/orders",
            "orders:?x",
        ] {
            assert!(FunctionName::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_path_of_a_call_is_percent_encoded() {
        let name = FunctionName::parse(ARN).unwrap();
        let encoded = "arn%3Aaws%3Alambda%3Aeu-central-1%3A123456789012%3Afunction%3Aorders";
        assert_eq!(name.path("", None), format!("/2015-03-31/functions/{encoded}/invocations"));
        let name = FunctionName::parse("orders").unwrap();
        let path = name.path("/base", Some("$LATEST"));
        assert_eq!(path, "/base/2015-03-31/functions/orders/invocations?Qualifier=%24LATEST");
    }
}
