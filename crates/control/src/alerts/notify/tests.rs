//! Against listeners on loopback that say what they heard.

use std::{os::unix::fs::PermissionsExt as _, sync::Arc};

use bygone_base::{SystemClock, SystemRng, UnixMillis};
use bygone_catalog::{
    Catalog, Seal, Sqlite,
    record::{Alert, AlertKind, AlertStatus, Settings, Smtp},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};

use super::*;

fn control() -> Control {
    let catalog = Catalog::new(Arc::new(Sqlite::in_memory().unwrap()));
    let seal = Seal::new(&[3; 32]).unwrap();
    Control::new(catalog, seal, Arc::new(SystemClock::new()), Arc::new(SystemRng))
}

fn alert(control: &Control) -> Alert {
    Alert {
        id: control.new_id(),
        project: None,
        job: None,
        target: "main".into(),
        kind: AlertKind::StoreNearlyFull,
        status: AlertStatus::Open,
        created: UnixMillis(1_800_000_000_000),
        updated: UnixMillis(1_800_000_000_000),
        resolved: None,
        notified: None,
        told: Vec::new(),
        acknowledged: None,
        message: "store main is 90 % full".into(),
    }
}

async fn told(control: &Control, settings: &Settings, alert: &Alert) -> Result<()> {
    let channels = Channel::all(settings);
    let [channel] = &channels[..] else { panic!("{channels:?}") };
    channel.tell(control, alert).await
}

/// Takes one HTTP request, answers it, gives its body.
async fn http(listener: TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
        });
        if body.len() >= length.unwrap() {
            let reply = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(reply.as_bytes()).await.unwrap();
            return body.to_owned();
        }
    }
}

/// Takes one mail as a server without logins does; it may offer STARTTLS, and ends there.
async fn smtp(listener: TcpListener, offers_tls: bool) -> Vec<String> {
    let (stream, _) = listener.accept().await.unwrap();
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut heard = Vec::new();
    let mut data = false;
    write.write_all(b"220 test\r\n").await.unwrap();
    while let Some(line) = lines.next_line().await.unwrap() {
        let reply = match line.as_str() {
            "." if data => {
                data = false;
                "250 taken\r\n"
            }
            _ if data => "",
            "DATA" => {
                data = true;
                "354 go on\r\n"
            }
            "STARTTLS" => {
                heard.push(line);
                break;
            }
            _ if line.starts_with("EHLO") && offers_tls => "250-test\r\n250 STARTTLS\r\n",
            "QUIT" => {
                write.write_all(b"221 bye\r\n").await.unwrap();
                break;
            }
            _ => "250 fine\r\n",
        };
        heard.push(line);
        write.write_all(reply.as_bytes()).await.unwrap();
        // The mail is taken: whether the client says goodbye is its own affair.
        if heard.last().is_some_and(|line| line == ".") {
            break;
        }
    }
    heard
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[tokio::test]
async fn a_webhook_gets_json_and_a_refusal_is_an_error_without_the_url() {
    let control = control();
    let alert = alert(&control);
    for (answer, fine) in [("200 OK", true), ("500 Oops", false)] {
        let (listener, address) = listener().await;
        let webhooks = vec![format!("http://{address}/hook?token=secret")];
        let settings = Settings { webhooks, ..Settings::default() };
        let (told, body) =
            tokio::join!(self::told(&control, &settings, &alert), http(listener, answer));
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["type"], "STORE_NEARLY_FULL");
        assert_eq!((&body["status"], &body["target"]), (&"OPEN".into(), &"main".into()));
        assert_eq!(told.is_ok(), fine);
        if let Err(error) = told {
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}

fn by_mail(address: &str, query: &str) -> Settings {
    let smtp = Smtp {
        url: format!("smtp://{address}{query}"),
        user: None,
        password: None,
        from: "bygone <backup@example.net>".into(),
        to: vec!["ops@example.net".into()],
    };
    Settings { smtp: Some(smtp), ..Settings::default() }
}

#[tokio::test]
async fn a_mail_says_what_is_wrong() {
    let control = control();
    let alert = alert(&control);
    for query in ["?tls=none", "?tls=opportunistic"] {
        let (listener, address) = listener().await;
        let settings = by_mail(&address, query);
        let (told, heard) =
            tokio::join!(self::told(&control, &settings, &alert), smtp(listener, false));
        told.unwrap();
        let all = heard.join("\n");
        assert!(all.contains("RCPT TO:<ops@example.net>"), "{all}");
        assert!(all.contains("Subject: bygone alert open: STORE_NEARLY_FULL"), "{all}");
        assert!(all.contains("store main is 90"), "{all}");
    }
}

#[tokio::test]
async fn a_mail_goes_in_the_clear_only_where_the_url_says_so() {
    let control = control();
    let alert = alert(&control);
    for (offered, query) in [(false, ""), (true, ""), (false, "?tls=required")] {
        let (listener, address) = listener().await;
        let settings = by_mail(&address, query);
        let (told, heard) =
            tokio::join!(self::told(&control, &settings, &alert), smtp(listener, offered));
        assert!(told.is_err(), "{offered} {query}");
        let all = heard.join("\n");
        assert!(!all.contains("MAIL FROM") && all.contains("STARTTLS") == offered, "{all}");
    }
    let error = smtp_url("smtp://h?tls=maybe").unwrap_err();
    assert!(error.to_string().contains("tls=maybe"), "{error}");
    assert_eq!(smtp_url("smtp://h:25").unwrap(), "smtp://h:25?tls=required");
    assert_eq!(smtp_url("smtps://h").unwrap(), "smtps://h");
}

#[tokio::test]
async fn a_test_is_told_by_the_way_that_is_tested() {
    let control = control();
    let (hook, hook_address) = listener().await;
    let (mail_at, mail_address) = listener().await;
    let mut settings = by_mail(&mail_address, "?tls=none");
    let (told, heard) = tokio::join!(test(&control, &settings, Way::Mail), smtp(mail_at, false));
    told.unwrap();
    assert!(heard.iter().any(|line| line == "Subject: bygone alert: test"), "{heard:?}");
    for way in [Way::Webhooks, Way::Command] {
        assert_eq!(test(&control, &settings, way).await.unwrap_err().kind(), ErrorKind::Usage);
    }
    settings.webhooks = vec![format!("http://{hook_address}/hook")];
    let (told, body) = tokio::join!(test(&control, &settings, Way::Webhooks), http(hook, "200 OK"));
    told.unwrap();
    assert!(body.contains("\"type\":\"TEST\""), "{body}");
}

#[tokio::test]
async fn a_command_that_fails_is_an_error() {
    let control = control();
    let alert = alert(&control);
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("tell");
    for (script, fine) in [("#!/bin/sh\ncat > /dev/null\n", true), ("#!/bin/sh\nexit 3\n", false)] {
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let settings = Settings { command: Some(program.clone()), ..Settings::default() };
        assert_eq!(told(&control, &settings, &alert).await.is_ok(), fine, "{script}");
    }
    let settings = Settings { command: Some(dir.path().join("none")), ..Settings::default() };
    let error = told(&control, &settings, &alert).await.unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
}
