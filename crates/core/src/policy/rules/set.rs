//! A whole policy: the built-in rules, an operator's overrides, and the references between them resolved.

use std::collections::{BTreeMap, HashMap};
use std::slice;

use super::error::{RuleError, SyntaxError, Warning};
use super::evaluate::{Check, Fault};
use super::explain::Explanation;
use super::expression::{Expression, Node};
use super::file::RuleText;
use super::parse::{parse_expression, parse_rule};
use super::value::Attributes;
use super::{MAX_LINKED_CHECKS, MAX_LINKED_DEPTH, MAX_RULES};

/// The rule that stands in for those that do not exist.
const DEFAULT_RULE: &str = "default";

/// One rule of a set.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: Box<str>,
    pub(super) text: Box<str>,
    pub(super) overridden: bool,
    pub(super) expression: Node,
}

/// The rules in force: parsed, linked, immutable.
#[derive(Debug)]
pub struct RuleSet {
    /// Sorted by name.
    rules: Vec<Rule>,
    index: HashMap<Box<str>, usize>,
    /// Index of [`DEFAULT_RULE`], if there is one.
    fallback: Option<usize>,
}

impl RuleSet {
    /// Parses and links the built-in rules with those that replace them or are added to them.
    ///
    /// Warnings come sorted; a set with warnings is in order.
    ///
    /// # Errors
    /// The first rule that does not parse, a circle of references, or a limit that is passed.
    pub fn build(
        defaults: &[(&str, &str)],
        overrides: &BTreeMap<String, RuleText>,
    ) -> Result<(Self, Vec<Warning>), RuleError> {
        let mut named: BTreeMap<&str, (String, bool, Result<Expression, SyntaxError>)> = BTreeMap::new();
        for (name, text) in defaults {
            if named.insert(name, ((*text).to_owned(), false, parse_expression(text))).is_some() {
                return Err(RuleError::Duplicate { rule: (*name).to_owned() });
            }
        }
        for (name, text) in overrides {
            named.insert(name, (text.to_string(), true, parse_rule(text)));
        }
        if named.len() > MAX_RULES {
            return Err(RuleError::TooLarge {
                what: "the number of rules",
                size: named.len(),
                limit: MAX_RULES,
            });
        }
        let mut rules = Vec::with_capacity(named.len());
        for (name, (text, overridden, parsed)) in named {
            let Expression(expression) =
                parsed.map_err(|error| RuleError::Syntax { rule: name.to_owned(), error })?;
            rules.push(Rule { name: name.into(), text: text.into(), overridden, expression });
        }
        let index: HashMap<Box<str>, usize> =
            rules.iter().enumerate().map(|(at, rule)| (rule.name.clone(), at)).collect();
        let fallback = index.get(DEFAULT_RULE).copied();
        let mut set = Self { rules, index, fallback };
        let (references, mut warnings) = set.link();
        set.measure(&set.order(&references)?)?;
        warnings.extend(set.unused(defaults, &references));
        warnings.sort();
        Ok((set, warnings))
    }

    /// Resolves every reference; gives, for each rule, the rules it refers to.
    fn link(&mut self) -> (Vec<Vec<usize>>, Vec<Warning>) {
        let Self { rules, index, fallback } = self;
        let mut warnings = Vec::new();
        let mut references = Vec::with_capacity(rules.len());
        for Rule { name: rule, expression, .. } in rules {
            let mut own = Vec::new();
            expression.each_reference(&mut |reference| {
                reference.index = index.get(&reference.name).copied();
                if reference.index.is_none() {
                    warnings.push(Warning::Undefined {
                        rule: rule.to_string(),
                        reference: reference.name.to_string(),
                        falls_back: fallback.is_some(),
                    });
                    reference.index = *fallback;
                }
                own.extend(reference.index);
            });
            references.push(own);
        }
        warnings.sort();
        warnings.dedup();
        (references, warnings)
    }

    /// The rules in an order in which each comes behind all it refers to; an error if there is none.
    fn order(&self, references: &[Vec<usize>]) -> Result<Vec<usize>, RuleError> {
        #[derive(Clone, Copy)]
        enum State {
            New,
            Open,
            Done,
        }
        let mut states = vec![State::New; references.len()];
        let mut order = Vec::with_capacity(references.len());
        let mut stack: Vec<(usize, slice::Iter<'_, usize>)> = Vec::new();
        let enter = |rule: usize, states: &mut Vec<State>, stack: &mut Vec<_>| {
            if let (Some(state), Some(own)) = (states.get_mut(rule), references.get(rule)) {
                *state = State::Open;
                stack.push((rule, own.iter()));
            }
        };
        for root in 0..references.len() {
            if matches!(states.get(root), Some(State::New)) {
                enter(root, &mut states, &mut stack);
            }
            while let Some((rule, rest)) = stack.last_mut() {
                let rule = *rule;
                match rest.next().map(|next| (*next, states.get(*next).copied())) {
                    Some((next, Some(State::New))) => enter(next, &mut states, &mut stack),
                    Some((next, Some(State::Open))) => {
                        let circle = stack.iter().map(|(rule, _)| *rule).skip_while(|rule| *rule != next);
                        return Err(RuleError::Cycle { path: circle.map(|rule| self.name(rule)).collect() });
                    }
                    Some((_, Some(State::Done) | None)) => {}
                    None => {
                        if let Some(state) = states.get_mut(rule) {
                            *state = State::Done;
                        }
                        order.push(rule);
                        stack.pop();
                    }
                }
            }
        }
        Ok(order)
    }

    /// Bounds the work of every check, references followed.
    fn measure(&self, order: &[usize]) -> Result<(), RuleError> {
        let mut sizes = vec![Size::default(); self.rules.len()];
        for at in order {
            let (Some(rule), Some(slot)) = (self.rules.get(*at), sizes.get(*at)) else { continue };
            debug_assert_eq!(slot.checks, 0, "each rule is measured once");
            let size = Size::of(&rule.expression, &sizes);
            if size.depth > MAX_LINKED_DEPTH || size.checks > MAX_LINKED_CHECKS {
                return Err(RuleError::TooComplex {
                    rule: rule.name.to_string(),
                    depth: size.depth,
                    checks: size.checks,
                });
            }
            if let Some(slot) = sizes.get_mut(*at) {
                *slot = size;
            }
        }
        Ok(())
    }

    /// Rules of the operator that neither replace a built-in one nor are referred to.
    fn unused(&self, defaults: &[(&str, &str)], references: &[Vec<usize>]) -> Vec<Warning> {
        let mut used = vec![false; self.rules.len()];
        let built_in = defaults.iter().filter_map(|(name, _)| self.index.get(*name));
        for at in references.iter().flatten().chain(built_in).chain(&self.fallback) {
            if let Some(flag) = used.get_mut(*at) {
                *flag = true;
            }
        }
        let unused = self.rules.iter().zip(used).filter(|(_, used)| !used);
        unused.map(|(rule, _)| Warning::Unused { rule: rule.name.to_string() }).collect()
    }

    fn name(&self, at: usize) -> String {
        self.rules.get(at).map_or_else(String::new, |rule| rule.name.to_string())
    }

    fn find(&self, name: &str) -> Option<&Rule> {
        self.index.get(name).and_then(|at| self.rules.get(*at))
    }

    /// The rule of that name, or the one that stands in for it.
    fn find_or_default(&self, name: &str) -> Option<&Rule> {
        self.find(name).or_else(|| self.fallback.and_then(|at| self.rules.get(at)))
    }

    fn prepare<'a>(&'a self, credentials: &'a dyn Attributes, target: &'a dyn Attributes) -> Check<'a> {
        Check { rules: &self.rules, credentials, target }
    }

    /// Whether the rule allows it. A rule that does not exist is replaced by `default`; without that the answer is no.
    /// A [`Fault`] is logged, and the answer is no.
    pub fn check(&self, rule: &str, credentials: &dyn Attributes, target: &dyn Attributes) -> bool {
        self.try_check(rule, credentials, target).unwrap_or_else(|fault| {
            tracing::warn!(rule, %fault, "policy rule denied: it does not fit the values it was given");
            false
        })
    }

    /// As [`Self::check`], but tells a [`Fault`] from a plain no.
    ///
    /// # Errors
    /// The fault that ended the check.
    pub fn try_check(
        &self,
        rule: &str,
        credentials: &dyn Attributes,
        target: &dyn Attributes,
    ) -> Result<bool, Fault> {
        match self.find_or_default(rule) {
            Some(found) => self.prepare(credentials, target).node(&found.expression),
            None => Ok(false),
        }
    }

    /// How the answer of [`Self::check`] comes about, or `None` if there is neither the rule nor a `default`.
    pub fn explain(
        &self,
        rule: &str,
        credentials: &dyn Attributes,
        target: &dyn Attributes,
    ) -> Option<Explanation> {
        let found = self.find_or_default(rule)?;
        Some(self.prepare(credentials, target).explain(&found.expression).0)
    }

    /// The names of all rules, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| &*rule.name)
    }

    /// The rule as written.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.find(name).map(|rule| &*rule.text)
    }

    /// Whether the rule is the operator's: one that replaces a built-in rule, or an addition.
    pub fn is_overridden(&self, name: &str) -> bool {
        self.find(name).is_some_and(|rule| rule.overridden)
    }
}

/// What a node becomes when references are followed.
#[derive(Clone, Copy, Default)]
struct Size {
    depth: usize,
    checks: usize,
}

impl Size {
    fn of(node: &Node, linked: &[Self]) -> Self {
        let below = |parts: &[Node]| {
            parts.iter().map(|part| Self::of(part, linked)).fold(Self::default(), |sum, part| Self {
                depth: sum.depth.max(part.depth),
                checks: sum.checks.saturating_add(part.checks),
            })
        };
        let inner = match node {
            Node::True | Node::False | Node::Role(_) | Node::Credential(_) => Self::default(),
            Node::Not(inner) => Self::of(inner, linked),
            Node::And(parts) | Node::Or(parts) => below(parts),
            Node::Rule(reference) => {
                reference.index.and_then(|at| linked.get(at)).copied().unwrap_or_default()
            }
        };
        Self { depth: inner.depth.saturating_add(1), checks: inner.checks.saturating_add(1) }
    }
}
