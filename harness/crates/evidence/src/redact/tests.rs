//! Each kind of secret, in the forms it is seen in.

use serde_json::json;

use super::*;

const JWT_TEXT: &str =
    "eyJhbGciOiJSUzI1NiIsImtpZCI6IkEifQ.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl";
const KEY: &str =
    "MIIEpAIBAAKCAQEAr3rXcmc7lHqDgKZ5bS1rU9cX\nq83kdfjHkW1nPz0aQxkX7vUj3mO2R9cNfWq5\nAb3=";

fn redacted(text: &str) -> String {
    Redactor::default().redact(text)
}

#[test]
fn every_kind_of_secret_is_taken_out_and_its_surroundings_stay() {
    let encoded = BASE64_STANDARD.encode(format!("-----BEGIN RSA PRIVATE KEY-----\n{KEY}\n"));
    for (text, secret) in [
        (format!("token={JWT_TEXT} x"), JWT_TEXT),
        (format!("cut {} x", &JWT_TEXT[..60]), &JWT_TEXT[40..60]),
        (
            "kubeadm join --token abcdef.0123456789abcdef x".into(),
            "0123456789abcdef",
        ),
        (
            "Authorization: Bearer s3cr3t/tok+en= x".into(),
            "s3cr3t/tok+en=",
        ),
        (
            "authorization=\"Basic dXNlcjpwYXNz\" x".into(),
            "dXNlcjpwYXNz",
        ),
        (
            "curl -H 'authorization: bearer opaque-1' x".into(),
            "opaque-1",
        ),
        (
            "    client-key-data: LS0tLS1CRUdJTiB x".into(),
            "LS0tLS1CRUdJTiB",
        ),
        (format!("k: {encoded} x"), encoded.as_str()),
        ("    token: plain-token x".into(), "plain-token"),
        ("{\"auths\":{\"r\":{\"auth\":\"dTpw\"}}} x".into(), "dTpw"),
        ("  auth = \"dTpwdTpw\" x".into(), "dTpwdTpw"),
        ("  password = 'hunter22' x".into(), "hunter22"),
        ("DB_PASSWORD=hunter22 x".into(), "hunter22"),
        (r#"msg="{\"password\":\"hunter22\"}" x"#.into(), "hunter22"),
        (".dockerconfigjson: eyJhdXRocyI6 x".into(), "eyJhdXRocyI6"),
        (
            "https://user:hunter22@registry.example/v2 x".into(),
            "hunter22",
        ),
        ("JWT_SECRET=hunter22 x".into(), "hunter22"),
        (
            "Env:[]EnvVar{EnvVar{Name:DB_TOKEN,Value:hun,ter 22,ValueFrom:nil,},} x".into(),
            "hun,ter 22",
        ),
        ("--certificate-key 00ff00ff00ff x".into(), "00ff00ff00ff"),
        (
            r#"{"kind":"Secret","data":{"a":"aHVudGVyMjI="},"type":"Opaque"} x"#.into(),
            "aHVudGVyMjI=",
        ),
        (
            r#"a "{\"kind\":\"Secret\",\"stringData\":{\"a\":\"hunter22\"}}" x"#.into(),
            "hunter22",
        ),
    ] {
        let text: String = text;
        let shown = redacted(&text);
        assert!(!shown.contains(secret), "{text} -> {shown}");
        assert!(shown.contains("[redacted "), "{text} -> {shown}");
        assert!(shown.ends_with(" x"), "{text} -> {shown}");
        assert_eq!(redacted(&shown), shown, "it changes again");
    }
}

#[test]
fn a_private_key_goes_with_all_its_lines_wherever_it_is_cut() {
    let whole = format!("-----BEGIN EC PRIVATE KEY-----\n{KEY}\n-----END EC PRIVATE KEY-----");
    let logged = whole.replace('\n', "\n2026-11-21T10:10:29.1Z stdout F ");
    let escaped = format!("pem=\"{}\" x", whole.replace('\n', "\\n"));
    let begin = whole
        .rsplit_once('\n')
        .unwrap()
        .0
        .rsplit_once('\n')
        .unwrap()
        .0;
    let end = whole.split_once('\n').unwrap().1;
    for text in [whole.as_str(), &logged, &escaped, begin, end] {
        let text = format!("before\n{text}\nafter");
        let shown = redacted(&text);
        for line in KEY.lines().filter(|line| text.contains(line)) {
            assert!(!shown.contains(line), "{shown}");
        }
        assert!(
            shown.starts_with("before\n") && shown.ends_with("after"),
            "{shown}"
        );
    }
    assert!(redacted(&escaped).ends_with("\" x"));
}

/// The whole value is removed, whatever characters it has.
#[test]
fn a_value_that_has_what_could_end_it_goes_to_its_end() {
    for (text, shown) in [
        (
            "DB_PASSWORD=Zx9!,correct-horse x",
            "DB_PASSWORD=[redacted secret] x",
        ),
        (
            "DB_PASSWORD=a,bcdefghij x",
            "DB_PASSWORD=[redacted secret] x",
        ),
        ("password=P&ssw0rdLong x", "password=[redacted secret] x"),
        ("password=a;b{c}[d]x", "password=[redacted secret]"),
        (
            "passphrase=\"my long pass phrase\" x",
            "passphrase=\"[redacted secret]\" x",
        ),
        ("PGPASSWORD=x y", "PGPASSWORD=[redacted secret] y"),
        ("MYSQL_PWD=a&b x", "MYSQL_PWD=[redacted secret] x"),
        ("requirepass foo,bar", "requirepass [redacted secret]"),
        (
            "postgres://u:pa/ss@h x",
            "postgres://u:[redacted password]@h x",
        ),
        (
            "postgres://u:p@s/s@h/db",
            "postgres://u:[redacted password]@h/db",
        ),
        (
            "https://u:p@ss@h:5000/v2/",
            "https://u:[redacted password]@h:5000/v2/",
        ),
        (
            "https://tok3n@github.com/x",
            "https://[redacted password]@github.com/x",
        ),
        ("redis://:p@h?x=1", "redis://:[redacted password]@h?x=1"),
        (
            "/login?token=a,b&user=c",
            "/login?token=[redacted secret]&user=c",
        ),
        (
            "[\"--token\",\"a b\",\"-v\"]",
            "[\"--token\",\"[redacted secret]\",\"-v\"]",
        ),
        (
            "{\"log\":\"TOKEN=a,b\\n\",\"x\":1}",
            "{\"log\":\"TOKEN=[redacted secret]\",\"x\":1}",
        ),
    ] {
        assert_eq!(redacted(text), shown);
    }
}

#[test]
fn known_values_go_before_what_only_looks_like_a_secret() {
    for value in [
        "Zx9!,correct-horse",
        "correct horse battery",
        "a\\b\"c'd e&f",
        "https://x:y",
    ] {
        let redactor = Redactor::default().hiding(&BTreeSet::from([value.to_owned()]));
        for key in ["DB_PASSWORD=", "password: ", "said "] {
            let shown = redactor.redact(&format!("{key}{value} x"));
            assert_eq!(shown, format!("{key}[redacted secret] x"));
        }
    }
    let own = Redactor::new(Some("token=EMP-[0-9]+,[a-z]+")).unwrap();
    assert_eq!(own.redact("token=EMP-42,bob x"), "[redacted by rule] x");
    let both = own.hiding(&BTreeSet::from(["bob,and,alice".to_owned()]));
    let shown = both.redact("token=EMP-42,bob,and,alice x");
    assert_eq!(shown, "[redacted by rule] x", "one reaches into the other");
}

#[test]
fn what_is_no_secret_stays() {
    for text in [
        "http://host:5000/v2/app@sha256:0123456789abcdef0123456789abcdef x",
        "https://github.com/actions/checkout@v4 and https://example.com/@user",
        "ssh://core@host git+ssh://git@github.com/x",
        "PWD=/root OLDPWD=/ pwd=/var test pass: 3",
        "AutomountServiceAccountToken:*false,ImagePullSecrets:[]LocalObjectReference{},",
        "ServiceAccountToken:&ServiceAccountTokenProjection{Audience:,Path:token,}",
        "serviceAccountToken:\n  expirationSeconds: 3607\n  path: token",
        "StaticPodURLHeader:map[] Address:0.0.0.0 staticPodURLHeader: null",
        "secret: {secretName: a} \"secret\": {\"secretName\": \"a\"}",
        "MountVolume.SetUp failed for volume \"token\" : secret \"a\" not found",
        "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----",
        "automountServiceAccountToken: false",
        "path=/var/run/secrets/kubernetes.io/serviceaccount/token",
        "failed to detect containerd snapshotter",
        "docker.containerdservices and google.protobufmessages",
        "volumes: [{secret: {secretName: tls-for-web}}]",
        "EnvVar{Name:MODE,Value:plain,ValueFrom:nil,}",
        "\"auth failed\" author=me authority: root",
        "http://127.0.0.1:6443/healthz a@b",
        "sha256:0123456789abcdef0123456789abcdef",
    ] {
        assert_eq!(redacted(text), text);
    }
}

#[test]
fn a_users_patterns_are_taken_out_too_and_a_bad_one_is_named() {
    let redactor = Redactor::new(Some("ACME-[0-9]+\n employee [a-z]+ ; ")).unwrap();
    assert_eq!(
        redactor.redact("id ACME-42 of employee bob."),
        "id [redacted by rule] of [redacted by rule]."
    );
    let error = Redactor::new(Some("ok;[")).unwrap_err();
    assert_eq!(error.kind(), kubenest_base::ErrorKind::Input);
    assert!(error.report().contains("'['"), "{}", error.report());
}

#[test]
fn what_a_secret_holds_is_taken_out_everywhere() {
    let applied = r#"{"kind":"Secret","data":{"a":"b3Blbi1zZXNhbWU="}}"#;
    let mut list = json!({"kind": "List", "items": [
        {"kind": "Secret", "metadata": {
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied}},
         "data": {"a": "b3Blbi1zZXNhbWU=", "c": "aHVudGVyIjIyXA==", "ca.crt": "Y2VydGlmaWNhdGU=", "b": "c2hvcnQ="}},
        {"kind": "Pod", "spec": {"containers": [{"env": [
            {"name": "DB_PASSWORD", "value": "xyzzy"}, {"name": "MODE", "value": "short"}],
            "args": ["--db-password", "plugh", "--token-file", "--mode", "plover"]}]}},
    ]});
    let redactor = Redactor::default().hiding(&secrets_in([&list]));
    assert_eq!(
        redactor.redact("say open-sesame, b3Blbi1zZXNhbWU= or short"),
        "say [redacted secret], [redacted secret] or short"
    );
    let quoted = r#"msg="say hunter\"22\\ or hunter\"" of hunter"22\"#;
    let shown = r#"msg="say [redacted secret] or hunter\"" of [redacted secret]"#;
    assert_eq!(redactor.redact(quoted), shown);
    redactor.redact_document(&mut list);
    let text = list.to_string();
    for secret in ["b3Blbi1zZXNhbWU=", "c2hvcnQ=", "xyzzy", "plugh"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(text.contains(r#""value":"short""#), "{text}");
    assert!(text.contains(r#""--mode","plover""#), "{text}");
}

#[test]
fn secrets_of_any_number_and_size_are_taken_out() {
    let value = |at: usize| format!("{at:08}").repeat(VALUE_MAX / 8 - 1);
    let values: BTreeSet<String> = (0..30).map(value).collect();
    let redactor = Redactor::default().hiding(&values);
    let shown = redactor.redact(&format!("a {} b {} c", value(0), value(29)));
    assert_eq!(shown, "a [redacted secret] b [redacted secret] c");
}

#[test]
fn a_document_stays_one_and_only_its_secrets_lose_their_data() {
    let mut document = serde_json::json!({"kind": "List", "items": [
        {"kind": "Secret", "data": {"word": "aGVsbG8gd29ybGQ="}},
        {"kind": "ConfigMap", "data": {"Corefile": ".:53"}},
    ]});
    let redactor = Redactor::default();
    redactor.redact_document(&mut document);
    let text = serde_json::to_string_pretty(&document).unwrap();
    let written = redactor.redact_written(&text);
    let read: serde_json::Value = serde_json::from_str(&written).expect(&written);
    assert_eq!(read["items"][0]["data"]["word"], "[redacted data]");
    assert_eq!(read["items"][1]["data"]["Corefile"], ".:53");
}

/// Since 1.37 the kubelet writes its whole configuration to the log, in lines below a message. It
/// masks the headers itself; here it has not.
#[test]
fn of_a_logged_kubelet_configuration_only_secrets_are_taken_out() {
    let text =
        "I1130 14:16:37.663865     332 server.go:257] \"Effective KubeletConfiguration\" config=<
\tauthentication:
\t  anonymous:
\t    enabled: false
\t  webhook:
\t    cacheTTL: 2m0s
\tauthorization:
\t  mode: Webhook
\t  webhook:
\t    cacheAuthorizedTTL: 5m0s
\timagePullCredentialsVerificationPolicy: NeverVerifyPreloadedImages
\tserverTLSBootstrap: true
\tstaticPodPath: /etc/kubernetes/manifests
\tstaticPodURL: https://robot:hunter22@pods.test/list?token=0123456789abcdef
\tstaticPodURLHeader:
\t  Authorization:
\t  - Basic cm9ib3Q6aHVudGVyMjI=
\t  X-Pods:
\t  - planted-0042
\tstreamingConnectionIdleTimeout: 4h0m0s
 >
";
    let shown = text
        .replace("hunter22@", "[redacted password]@")
        .replace("0123456789abcdef", "[redacted secret]")
        .replace(
            "\n\t  Authorization:\n\t  - Basic cm9ib3Q6aHVudGVyMjI=\n\t  X-Pods:\n\t  - planted-0042",
            "[redacted headers]",
        );
    assert_eq!(redacted(text), shown);
    let masked = "\tstaticPodURLHeader:\n\t  X-Pods:\n\t  - <masked>\n";
    assert!(
        !redacted(masked).contains("masked"),
        "nobody can tell a mask from a word"
    );
}
