//! Which completed turns the CLI must have written, said for the column of the outcome as [`treewarden_store::is_written`] says
//! it for a frame.

/// The same for a completed turn, given the column of its outcome.
pub(crate) fn is_written_sql(outcome: &str) -> String {
    format!(
        "(coalesce(json_type({outcome}, '$.result'), 'null') = 'null'
          OR {outcome} ->> '$.result.terminal_reason' IS NOT NULL
          OR coalesce({outcome} ->> '$.result.num_turns', 0) >= 1)"
    )
}

#[cfg(test)]
mod tests {
    use treewarden_proto::frame::Frame;
    use treewarden_store::is_written;

    use super::*;

    #[test]
    fn the_journal_and_a_frame_say_the_same_of_what_the_cli_wrote() {
        let db = rusqlite::Connection::open_in_memory().expect("a database");
        let help = "/help isn't available in this environment.";
        let cases = [
            (format!(r#"{{"type":"result","num_turns":0,"result":"{help}"}}"#), false),
            (r#"{"type":"result","num_turns":0,"terminal_reason":null}"#.to_owned(), false),
            (r#"{"type":"result"}"#.to_owned(), false),
            (r#"{"type":"system","subtype":"informational","content":"blocked by hook"}"#.to_owned(), false),
            (r#"{"type":"result","num_turns":1}"#.to_owned(), true),
            (r#"{"type":"result","num_turns":0,"terminal_reason":"completed"}"#.to_owned(), true),
            (r#"{"\ud800":1,"type":"result","num_turns":2}"#.to_owned(), true),
        ];
        for (line, expected) in cases {
            let frame = Frame::parse(line.clone().into_bytes().into()).expect("a frame");
            assert_eq!(is_written(&frame), expected, "{line}");
            let row = format!(r#"{{"outcome":"completed","result":{line}}}"#);
            let sql = format!("SELECT {}", is_written_sql("?1"));
            let in_journal: bool = db.query_row(&sql, [row], |row| row.get(0)).expect("it can be asked");
            assert_eq!(in_journal, expected, "{line}");
        }
    }
}
