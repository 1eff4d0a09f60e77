//! DNS on sockets that host lends, over restarts of host.

mod common;

use std::{
    net::{SocketAddr, UdpSocket as StdUdp},
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use common::TestServer;
use drydock::egress::{Egress, allow::AllowList};
use drydock_protocol::gateway::{Hello, Lent, Name, Service};
use drydock_sandbox::fdpass;
use simple_dns::{CLASS, Packet, QCLASS, QTYPE, Question, RCODE, TYPE};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket, UnixListener, UnixStream},
    time::timeout,
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Host's end of the gateway connection.
struct Lender {
    stream: UnixStream,
    held: Vec<Name>,
    copies: Vec<OwnedFd>,
}

impl Lender {
    /// Waits for web, and reads its first line.
    async fn accept(listener: &UnixListener) -> Lender {
        let (stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        let (mut line, mut copies) = (Vec::new(), Vec::new());
        let mut buffer = [0; 4096];
        while !line.ends_with(b"\n") {
            let received =
                timeout(PATIENCE, fdpass::recv_stream(&stream, &mut buffer)).await.unwrap().unwrap();
            line.extend_from_slice(&buffer[..received.len]);
            copies.extend(received.fds);
        }
        let hello: Hello = serde_json::from_slice(&line).unwrap();
        Lender { stream, held: hello.held, copies }
    }

    async fn tell(&self, lent: &Lent, fd: Option<&OwnedFd>) {
        let line = serde_json::to_string(lent).unwrap() + "\n";
        let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
        fdpass::send_stream(&self.stream, line.as_bytes(), &fds).await.unwrap();
    }
}

fn question(name: &str) -> Vec<u8> {
    let mut packet = Packet::new_query(7);
    let name = simple_dns::Name::new_unchecked(name);
    packet.questions.push(Question::new(name, QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().unwrap()
}

fn read(reply: &[u8]) -> (RCODE, usize) {
    let packet = Packet::parse(reply).unwrap();
    (packet.rcode(), packet.answers.len())
}

async fn ask(server: SocketAddr, name: &str) -> (RCODE, usize) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&question(name), server).await.unwrap();
    let mut reply = [0; 512];
    let len = timeout(PATIENCE, socket.recv(&mut reply)).await.unwrap().unwrap();
    read(&reply[..len])
}

async fn ask_by_tcp(server: SocketAddr, name: &str) -> (RCODE, usize) {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let question = question(name);
    stream.write_u16(question.len() as u16).await.unwrap();
    stream.write_all(&question).await.unwrap();
    let len = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
    let mut reply = vec![0; len.into()];
    stream.read_exact(&mut reply).await.unwrap();
    read(&reply)
}

#[tokio::test]
async fn lent_sockets_answer_for_their_session_and_outlive_host() {
    let server = TestServer::start().await;
    let session = server.learner().await.session().await;
    let id = session["id"].as_str().unwrap().to_owned();
    let mut roster = server.app.sessions.watch();
    roster.wait_for(|sessions| sessions.len() == 1).await.unwrap();

    let path = server.dir.path().join("gateway.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let gateway = tokio::spawn(drydock::gateway::run(
        path.clone(),
        server.app.sessions.clone(),
        Egress::new(AllowList::default(), 1),
    ));
    let host = Lender::accept(&listener).await;
    assert!(host.held.is_empty());

    let udp = StdUdp::bind("127.0.0.1:0").unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (at_udp, at_tcp) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let of_udp = Name { session: id.clone(), service: Service::DnsUdp };
    let of_tcp = Name { session: id.clone(), service: Service::DnsTcp };
    host.tell(&Lent::Open(of_udp.clone()), Some(&udp.into())).await;
    host.tell(&Lent::Open(of_tcp.clone()), Some(&tcp.into())).await;
    assert_eq!(ask(at_udp, "node1").await, (RCODE::NoError, 1));
    assert_eq!(ask(at_udp, "example.com").await, (RCODE::NameError, 0));
    assert_eq!(ask_by_tcp(at_tcp, "hub").await, (RCODE::NoError, 1));

    // Host restarts: web hands its copies back and goes on answering.
    drop(host);
    let mut host = Lender::accept(&listener).await;
    assert_eq!(host.held, [of_udp, of_tcp]);
    let udp = StdUdp::from(host.copies.remove(0));
    assert_eq!(udp.local_addr().unwrap(), at_udp);
    assert_eq!(ask(at_udp, "node1").await, (RCODE::NoError, 1));

    // The session ends: only host's own copy is left.
    host.tell(&Lent::Ended { session: id }, None).await;
    drop(udp);
    while StdUdp::bind(at_udp).is_err() {
        tokio::task::yield_now().await;
    }
    gateway.abort();
}
