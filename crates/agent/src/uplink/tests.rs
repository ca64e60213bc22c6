use bygone_base::ErrorKind;

use super::*;

fn options(url: &str) -> HttpUplinkOptions {
    HttpUplinkOptions::new(url, SecretString::from("a-token-of-the-tests".to_owned()))
}

#[test]
fn tokens_and_data_never_cross_a_network_in_the_clear() {
    for good in [
        "https://backup.example:7433",
        "http://127.0.0.1:1",
        "http://[::1]:1/",
        "http://localhost:1",
    ] {
        assert!(HttpUplink::new(&options(good)).is_ok(), "{good}");
    }
    for bad in [
        "http://backup.example:7433",
        "http://10.0.0.1",
        "ftp://127.0.0.1",
        "https://user:secret@backup.example",
        "backup.example:7433",
        "",
    ] {
        let error = HttpUplink::new(&options(bad)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{bad}");
        assert!(!error.to_string().contains("secret"));
    }
    assert!(!format!("{:?}", options("https://h")).contains("a-token"));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_in_one_line() {
    // Bound and dropped: nobody listens there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error =
        HttpUplink::new(&options(&url)).unwrap().client.call("open", vec![]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    assert!(text.contains("cannot be reached") && !text.contains('\n'), "{text}");
}
