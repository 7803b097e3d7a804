#[path = "../server/xml.rs"] mod xml;
#[path = "../server/stream.rs"] mod stream;
#[path = "../server/sasl.rs"] mod sasl;
#[path = "../server/tls.rs"] mod tls;
#[path = "../server/negotiate.rs"] mod negotiate;
pub struct Server { domain: jid::DomainPart, accounts: sasl::Accounts, tls: Option<tokio_rustls::TlsAcceptor> }
#[tokio::main]
async fn main() {
    let s = std::sync::Arc::new(Server { domain: "localhost".parse().unwrap(), accounts: sasl::Accounts::new(["a:b".parse().unwrap()]), tls: None });
    let l = tokio::net::TcpListener::bind("127.0.0.1:5999").await.unwrap();
    let _ = tls::self_signed("x");
    loop { let (t,_) = l.accept().await.unwrap(); let s = s.clone(); tokio::spawn(async move {
        if let Some((mut c, who)) = negotiate::negotiate(t, &s).await { println!("{who}"); c.send(negotiate::features(true)).await.unwrap();
         loop { match c.reader.next().await { Ok(xml::Incoming::Element(e)) => println!("{:?} {:?}", e, xml::to_bytes(&xml::from_bytes(&xml::to_bytes(&e)))), Ok(_) => println!("hf"), Err(e) => {println!("{e}"); break} } } c.close().await; }
    }); }
}
