//! `policy list` and `policy check`: the rules in force, and what they say to a caller one describes.
//!
//! Owns reading the policy file for people. Needs no server and no credentials. Invariant: a described caller stays in
//! here; it proves nothing and can do nothing.

mod described;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use chatelaine_core::policy::rules::{
    Explanation, MAX_FILE_BYTES, RuleSet, RuleText, Verdict, parse_policy_file,
};
use chatelaine_core::policy::{
    DefaultRule, KeyTarget, ObjectTarget, Policy, PolicyConfig, RuleDefaults, default_rules,
};
use clap::Subcommand;
use serde::Serialize;

use super::key::file;
use super::{Exit, Failure, Format, Terminal};
use described::DescribedCaller;

const LIST_EXAMPLE: &str = "\
Example:
  chatelaine policy list --policy-file /etc/chatelaine/policy.yaml";

const CHECK_EXAMPLE: &str = "\
Examples:
  chatelaine policy check key:create --role service --user-id u1 --project-id p1
  chatelaine policy check --all --role service --user-id u1 --project-id p1 --target-owner u1 --target-project p1
  chatelaine policy check key:get --role member --user-id u1 --project-id p1 --explain

It ends with code 4 when the rule denies; with --all it ends with 0. The refused roles and networks of the
configuration are no rules: the server looks at them first, this command does not.";

/// Rules that are asked without a key at hand.
const WITHOUT_TARGET: [&str; 5] =
    ["key:access", "key:create", "key:list", "scope_key:create", "scope_key:list"];
/// The rules that are asked with an object at hand, by the first part of their names, and what the rules call it.
const NOUNS: [(&str, &str); 12] = [
    ("secret", "secret"),
    ("secret_meta", "secret"),
    ("secret_acls", "secret"),
    ("secret_consumers", "secret"),
    ("container", "container"),
    ("container_secret", "container"),
    ("container_acls", "container"),
    ("container_consumers", "container"),
    ("consumer", "container"),
    ("order", "order"),
    ("key", "key"),
    ("scope_key", "key"),
];

/// Arguments of `policy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The operator's policy file; without it, that of the configuration
    #[arg(long, global = true, value_name = "FILE")]
    policy_file: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the rules in force: the defaults and what the policy file overrides or adds
    #[command(after_help = LIST_EXAMPLE)]
    List,
    /// Try a rule, or all, with a caller you describe
    Check(Box<Check>),
}

#[derive(Debug, clap::Args)]
#[command(after_help = CHECK_EXAMPLE)]
struct Check {
    /// The rule
    #[arg(value_name = "RULE", required_unless_present = "all")]
    rule: Option<String>,
    /// All rules
    #[arg(long, conflicts_with = "rule")]
    all: bool,
    #[command(flatten)]
    caller: DescribedCaller,
    /// Who put the key, or made the secret, container or order, a user's id
    #[arg(long, value_name = "ID", requires = "target_project", help_heading = "Key or object")]
    target_owner: Option<String>,
    /// The project it was put from
    #[arg(long, value_name = "ID", requires = "target_owner", help_heading = "Key or object")]
    target_project: Option<String>,
    /// Its access list takes it from the project
    #[arg(long, requires = "target_owner", help_heading = "Key or object")]
    target_private: bool,
    /// Its access list names the caller
    #[arg(long, requires = "target_owner", help_heading = "Key or object")]
    target_listed: bool,
    /// Show every part of the rule: + holds, - does not, ! cannot be understood, . was not reached
    #[arg(long)]
    explain: bool,
}

/// Runs a command about the policy. `configured`: the policy file and the default rules of the configuration.
pub(crate) fn run(
    arguments: &Arguments,
    configured: (Option<&Path>, RuleDefaults),
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let (file, defaults) = configured;
    let overrides = match arguments.policy_file.as_deref().or(file) {
        Some(path) => load(path)?,
        None => BTreeMap::new(),
    };
    let (policy, warnings) = Policy::build(&overrides, PolicyConfig { defaults, ..PolicyConfig::default() })
        .map_err(|error| Failure::new(Exit::Invalid, error.to_string()))?;
    for warning in warnings {
        terminal.warn(&warning.to_string());
    }
    match &arguments.command {
        Command::List => list(policy.rules(), defaults, terminal),
        Command::Check(check) => check.run(policy.rules(), defaults, terminal),
    }
}

fn load(path: &Path) -> Result<BTreeMap<String, RuleText>, Failure> {
    let failed =
        |error: std::io::Error| Failure::usage(format!("the policy file {}: {error}", path.display()));
    let bytes =
        file::open(path).and_then(|mut file| file::read_wiping(&mut file, MAX_FILE_BYTES)).map_err(failed)?;
    let invalid = |reason: String| Failure::new(Exit::Invalid, reason).about(&path.display().to_string());
    let text = std::str::from_utf8(&bytes).map_err(|_| invalid("it is not text in UTF-8".to_owned()))?;
    parse_policy_file(text).map_err(|error| invalid(error.to_string()))
}

/// A rule as it is listed.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    /// `default`, `overridden` or `added`.
    source: &'static str,
    rule: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<&'static str>,
    description: &'static str,
}

fn list(rules: &RuleSet, defaults: RuleDefaults, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let listed: Vec<Listed<'_>> = names(rules, defaults)
        .into_iter()
        .map(|name| {
            let default = default_of(name, defaults);
            let source = match (rules.is_overridden(name), default) {
                (false, _) => "default",
                (true, Some(_)) => "overridden",
                (true, None) => "added",
            };
            Listed {
                name,
                source,
                rule: rules.text(name).unwrap_or_default(),
                default: default.map(|rule| rule.text),
                description: default.map_or("A rule of the policy file", |rule| rule.description),
            }
        })
        .collect();
    match terminal.format {
        Format::Json => terminal.json(&listed)?,
        Format::Table => {
            let row = |rule: &Listed<'_>| {
                [rule.name, rule.source, rule.rule, rule.description].map(str::to_owned).to_vec()
            };
            terminal.table(&["NAME", "SOURCE", "RULE", "DECIDES"], listed.iter().map(row).collect())?;
        }
    }
    Ok(Exit::Done)
}

fn default_of(name: &str, defaults: RuleDefaults) -> Option<DefaultRule> {
    default_rules(defaults).find(|rule| rule.name == name)
}

/// The defaults in the order in which they are documented, then the operator's own.
fn names(rules: &RuleSet, defaults: RuleDefaults) -> Vec<&str> {
    let added = rules.names().filter(|name| default_of(name, defaults).is_none());
    default_rules(defaults).map(|rule| rule.name).chain(added).collect()
}

/// What a rule says.
#[derive(Serialize)]
struct Answer<'a> {
    rule: &'a str,
    allowed: bool,
    /// The parts that made it deny.
    because: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Explanation>,
}

impl Check {
    fn run(&self, rules: &RuleSet, defaults: RuleDefaults, terminal: &mut Terminal) -> Result<Exit, Failure> {
        let caller = self.caller.in_lower_case();
        let wanted = match &self.rule {
            Some(rule) => vec![rule.as_str()],
            None => names(rules, defaults),
        };
        let mut answers = Vec::new();
        for rule in wanted {
            let first = rule.split(':').next().unwrap_or_default();
            // A helper rule is asked about whatever its name begins with.
            let noun =
                NOUNS.iter().rev().find(|(name, _)| first == *name || first.starts_with(&format!("{name}_")));
            let explanation = match (&self.target_owner, &self.target_project, noun) {
                (Some(owner), Some(project_id), Some((_, "key"))) if !WITHOUT_TARGET.contains(&rule) => {
                    rules.explain(rule, &caller, &KeyTarget { owner, project_id })
                }
                (Some(creator_id), Some(project_id), Some((_, noun))) if *noun != "key" => {
                    let read_project_access = !self.target_private;
                    let listed = self.target_listed;
                    let target = ObjectTarget { noun, project_id, creator_id, read_project_access, listed };
                    rules.explain(rule, &caller, &target)
                }
                _ => rules.explain(rule, &caller, &()),
            };
            let explanation = explanation.ok_or_else(|| {
                Failure::new(Exit::NotFound, format!("there is no rule {rule}"))
                    .advise("`chatelaine policy list` names all rules")
            })?;
            let mut because = BTreeSet::new();
            culprits(&explanation, &mut because);
            answers.push(Answer {
                rule,
                allowed: explanation.verdict == Verdict::Passed,
                because: because.into_iter().collect(),
                explanation: self.explain.then_some(explanation),
            });
        }
        match terminal.format {
            Format::Json => terminal.json(&answers)?,
            Format::Table => print(&answers, terminal)?,
        }
        let denied = self.rule.is_some() && answers.iter().any(|answer| !answer.allowed);
        Ok(if denied { Exit::Forbidden } else { Exit::Done })
    }
}

fn print(answers: &[Answer<'_>], terminal: &mut Terminal) -> Result<(), Failure> {
    let row = |answer: &Answer<'_>| {
        let allowed = if answer.allowed { "yes" } else { "no" };
        vec![answer.rule.to_owned(), allowed.to_owned(), answer.because.join("; ")]
    };
    terminal.table(&["NAME", "ALLOWED", "BECAUSE"], answers.iter().map(row).collect())?;
    for answer in answers {
        if let Some(explanation) = &answer.explanation {
            terminal.write(format!("\n{}\n{explanation}", answer.rule).as_bytes())?;
        }
    }
    Ok(())
}

/// The innermost parts that made a rule deny.
fn culprits(part: &Explanation, found: &mut BTreeSet<String>) {
    let denies = |part: &&Explanation| matches!(part.verdict, Verdict::Failed | Verdict::Faulted);
    if !denies(&part) {
        return;
    }
    let mut inner = part.parts.iter().filter(denies).peekable();
    if inner.peek().is_none() {
        let note = part.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
        found.insert(format!("{}{note}", part.check));
    }
    inner.for_each(|part| culprits(part, found));
}
