//! The web server over TLS. The certificate is for tests only.

mod common;

use std::sync::Arc;

use common::TestServer;
use drydock::{
    config::TlsFiles,
    web::{router::router, serve::serve, tls},
};
use http_body_util::Empty;
use hyper::{Request, body::Bytes, header::SET_COOKIE};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

fn file(name: &str) -> std::path::PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/tls", name].iter().collect()
}

fn client() -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("cert.pem")).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn pages_are_served_over_tls() {
    let server = TestServer::start_with(|settings| settings.url = "https://labs.example".into()).await;
    let config = tls::load(&TlsFiles { cert: file("cert.pem"), key: file("key.pem") }).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(
        listener,
        Some(config),
        router(server.app.clone()),
        Default::default(),
        std::future::pending(),
    ));

    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("labs.example").unwrap();
    let stream = client().connect(name, stream).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request =
        Request::builder().uri("/").header("host", "labs.example").body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let headers = response.headers();
    assert!(headers[SET_COOKIE].to_str().unwrap().starts_with("__Host-drydock="));
    assert!(headers.contains_key("strict-transport-security"));
    assert!(headers["content-security-policy"].to_str().unwrap().contains("wss://labs.example"));
}

#[test]
fn a_key_that_is_none_is_told_by_its_file() {
    let error = tls::load(&TlsFiles { cert: file("cert.pem"), key: file("cert.pem") }).unwrap_err();
    assert!(error.to_string().contains("tests/tls/cert.pem: "), "{error}");
    let error = tls::load(&TlsFiles { cert: "/nonexistent.pem".into(), key: file("key.pem") }).unwrap_err();
    assert!(error.to_string().contains("/nonexistent.pem: "), "{error}");
}
