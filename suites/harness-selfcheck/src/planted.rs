//! Secrets that tests put where a node could print them; none may appear in evidence.

/// The user's own pattern for redaction.
pub const PATTERN: &str = "EMPLOYEE-[0-9]+";

/// Lines to plant, each with the parts that must not appear in evidence.
pub const PLANTED: [(&str, &[&str]); 12] = [
    (
        "planted jwt eyJhbGciOiJSUzI1NiJ9.eyJwbGFudGVkIjoiand0In0.c2lnbmF0dXJlLW9m",
        &["eyJwbGFudGVkIjoiand0In0", "c2lnbmF0dXJlLW9m"],
    ),
    (
        "planted join --token abcdef.0123456789abcde7",
        &["0123456789abcde7"],
    ),
    (
        "planted Authorization: Bearer opaque-bearer-77",
        &["opaque-bearer-77"],
    ),
    (
        "planted client-key-data: cGxhbnRlZC1jbGllbnQta2V5",
        &["cGxhbnRlZC1jbGllbnQta2V5"],
    ),
    (
        r#"planted {"auths":{"r.example":{"auth":"cGxhbnRlZDphdXRo"}}}"#,
        &["cGxhbnRlZDphdXRo"],
    ),
    (
        "planted https://user:planted-url-77@r.example/v2/",
        &["planted-url-77"],
    ),
    (
        "planted DB_PASSWORD=planted-password-77",
        &["planted-password-77"],
    ),
    (
        "planted MYSQL_PWD=planted,mysql&password;77",
        &["planted,mysql", "password;77"],
    ),
    (
        r#"planted {"passphrase":"planted passphrase, 77"}"#,
        &["passphrase, 77"],
    ),
    (
        "planted https://planted-token-77@r.example/v2/",
        &["planted-token-77"],
    ),
    (
        "planted key\n-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIPlantedKeyPlantedKey7\n\
         U2VjcmV0TGluZU9mVGhlUGxhbnRlZEtleQ==\n-----END PRIVATE KEY-----",
        &[
            "PlantedKeyPlantedKey7",
            "U2VjcmV0TGluZU9mVGhlUGxhbnRlZEtleQ",
        ],
    ),
    (
        "planted EMPLOYEE-7777 of the user's pattern",
        &["EMPLOYEE-7777"],
    ),
];

/// The first text that a case logs.
pub const FIRST_WORDS: &str = "the first words of a case";

/// The text that the first of two concurrent cases logs before the second begins.
pub const WORDS_OF_ONE: &str = "words of the one";
/// The text that the second of the two cases logs.
pub const WORDS_OF_ANOTHER: &str = "words of another";

/// The value of a Secret, which a pod also prints. It contains characters that end a value in
/// various formats.
pub const SESAME: &str = r#"Zx9!,open;sesame&"77"{7777"#;
/// The same value as the API encodes it.
pub const SESAME_ENCODED: &str = "Wng5ISxvcGVuO3Nlc2FtZSYiNzciezc3Nzc=";
/// Parts of the value that no quoting changes.
const SESAME_PARTS: [&str; 3] = ["Zx9!", "open;sesame", "{7777"];

/// All lines to plant.
pub fn lines() -> String {
    PLANTED.map(|(line, _)| line).join("\n")
}

/// All texts that must not appear in evidence.
pub fn secrets() -> impl Iterator<Item = &'static str> {
    let planted = PLANTED
        .iter()
        .flat_map(|(_, secrets)| secrets.iter().copied());
    planted.chain([SESAME, SESAME_ENCODED]).chain(SESAME_PARTS)
}
