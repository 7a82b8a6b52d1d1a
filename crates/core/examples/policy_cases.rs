//! Checks policy rules given as JSON lines, for the comparison with oslo.policy in `tests/interop/policy_oracle`.
//!
//! Reads `{"rules": {name: text or lists}, "rule": name, "creds": {…}, "target": {…}}` from standard input and prints
//! `true`, `false`, `fault: …` (the rule does not fit the values) or `refused: …` (the rules do not load) for each.

use std::io::{self, BufRead, Write};

use chatelaine_core::policy::rules::{RuleSet, parse_policy_file};
use serde_json::{Map, Value};

#[derive(serde::Deserialize)]
struct Case {
    rules: Value,
    rule: String,
    creds: Map<String, Value>,
    target: Map<String, Value>,
}

fn main() -> io::Result<()> {
    let mut output = io::BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let case: Case = serde_json::from_str(&line?)?;
        writeln!(output, "{}", answer(&case))?;
    }
    output.flush()
}

fn answer(case: &Case) -> String {
    // By way of the file format, so that it takes part in the comparison.
    let loaded = parse_policy_file(&case.rules.to_string())
        .and_then(|rules| RuleSet::build(&[], &rules))
        .map(|(set, _)| set);
    match loaded {
        Err(error) => format!("refused: {error}").replace('\n', " "),
        Ok(set) => {
            let answer = set.try_check(&case.rule, &case.creds, &case.target);
            let explained = set.explain(&case.rule, &case.creds, &case.target);
            assert_eq!(
                explained.map_or_else(|| "Failed".to_owned(), |explained| format!("{:?}", explained.verdict)),
                match answer {
                    Ok(true) => "Passed",
                    Ok(false) => "Failed",
                    Err(_) => "Faulted",
                },
                "the explanation of {:?} differs from the answer",
                case.rule
            );
            match answer {
                Ok(allowed) => allowed.to_string(),
                Err(fault) => format!("fault: {fault}"),
            }
        }
    }
}
