//! What somebody may have meant by a key that there is not.

/// Goes behind "unknown key"; empty when no known key is near.
pub(super) fn hint(key: &str, known: &[&str]) -> String {
    let file = format!("{key}_file");
    if known.contains(&file.as_str()) {
        return format!("; secrets are never written here: name a file with `{file}`");
    }
    let near = known.iter().filter(|it| distance(key, it) <= slips(it));
    match near.min_by_key(|it| distance(key, it)) {
        Some(it) => format!("; did you mean `{it}`?"),
        None => String::new(),
    }
}

/// How many slips of the finger a word allows before it is another word.
fn slips(word: &str) -> usize {
    word.len().min(6) / 3
}

/// Levenshtein's: how many letters to add, drop or change.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
