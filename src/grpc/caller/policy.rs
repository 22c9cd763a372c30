//! The table of who may do what.

/// A text in which `*` stands for any run of characters, an empty one too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// These callers may call these methods for these accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub callers: Vec<Pattern>,
    /// Of names such as `contactcenter.v1.SmsSessionData/GetSession`.
    pub methods: Vec<Pattern>,
    pub accounts: Vec<Pattern>,
}

/// What no rule allows is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy(pub Vec<Rule>);

impl Pattern {
    pub fn new(text: impl Into<String>) -> Self {
        Pattern(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// In time that grows with the text and not with what stars could stand for.
    pub fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else {
            return self.0 == text;
        };
        let Some(mut left) = text.strip_prefix(first) else {
            return false;
        };
        let (between, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        for part in between.split('*') {
            let Some(at) = left.find(part) else {
                return false;
            };
            left = &left[at + part.len()..];
        }
        left.ends_with(last)
    }
}

impl Policy {
    /// Whether there is any account for which the caller may call the method.
    pub(super) fn allows_method(&self, caller: &str, method: &str) -> bool {
        self.rules(caller, method).next().is_some()
    }

    pub(super) fn allows(&self, caller: &str, method: &str, account: &str) -> bool {
        self.rules(caller, method)
            .any(|rule| any(&rule.accounts, account))
    }

    fn rules(&self, caller: &str, method: &str) -> impl Iterator<Item = &Rule> {
        self.0
            .iter()
            .filter(move |rule| any(&rule.callers, caller) && any(&rule.methods, method))
    }
}

/// Whether one of the patterns matches.
pub(super) fn any(patterns: &[Pattern], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_is_any_run_of_characters() {
        for (pattern, text, matches) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("", "", true),
            ("*", "", true),
            ("*", "anything/at all", true),
            ("a*", "a", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1c2b", false),
            ("*ab*", "aab", true),
            ("**", "x", true),
            (
                "spiffe://corp.example/ns/bots/*",
                "spiffe://corp.example/ns/bots/1",
                true,
            ),
            (
                "spiffe://corp.example/ns/bots/*",
                "spiffe://corp.example/ns/bot",
                false,
            ),
            (
                "jwt:system:serviceaccount:crm:*",
                "jwt:system:serviceaccount:crmx:a",
                false,
            ),
            ("S/*", "contactcenter.v1.S/Get", false),
            ("A", "a", false),
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(text),
                matches,
                "{pattern} {text}"
            );
        }
    }

    /// What the words of the definition say, however long it takes.
    fn slowly(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|taken| slowly(rest, &text[taken..])),
            Some((c, rest)) => text.first() == Some(c) && slowly(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn patterns_mean_what_they_say(pattern in "[ab*é]{0,8}", text in "[abé]{0,10}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(Pattern::new(pattern).matches(&text), slowly(&p, &t));
        }
    }

    #[test]
    fn a_rule_allows_only_what_all_three_of_its_lists_name() {
        let list = |items: &[&str]| items.iter().map(|it| Pattern::new(*it)).collect();
        let rule = |callers: &[&str], methods: &[&str], accounts: &[&str]| Rule {
            callers: list(callers),
            methods: list(methods),
            accounts: list(accounts),
        };
        let policy = Policy(vec![
            rule(&["bot", "dns:b*"], &["S/Get"], &["default"]),
            rule(&["bot"], &["S/*"], &["other"]),
        ]);
        for (caller, method, account, allowed) in [
            ("bot", "S/Get", "default", true),
            ("bot", "S/Get", "other", true),
            ("bot", "S/Put", "other", true),
            ("bot", "S/Put", "default", false),
            ("dns:bb", "S/Get", "default", true),
            ("dns:bb", "S/Get", "other", false),
            ("dns:bb", "S/Put", "other", false),
            ("nobody", "S/Get", "default", false),
        ] {
            assert_eq!(
                policy.allows(caller, method, account),
                allowed,
                "{caller} {method}"
            );
        }
        assert!(policy.allows_method("bot", "S/Put") && !policy.allows_method("bot", "T/Put"));
        assert!(!Policy(Vec::new()).allows_method("bot", "S/Get"));
    }
}
