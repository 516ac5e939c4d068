use super::prompt::{Input, TABLES, understand};

#[test]
fn a_backslash_begins_a_command_of_the_prompt() {
    let statement = |sql: &str| Input::Statement(sql.to_owned());
    assert_eq!(understand("SELECT 1;"), statement("SELECT 1;"));
    assert_eq!(understand("\\d"), statement(TABLES));
    assert_eq!(understand("\\d requests;"), statement("DESCRIBE requests"));
    assert_eq!(understand("\\timing"), Input::Timing);
    assert_eq!(understand("\\q"), Input::Quit);
    assert_eq!(understand("\\x"), Input::Unknown("\\x".to_owned()));
}
