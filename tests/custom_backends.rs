//! The backends of the example `custom_backend`: two strategies of a user's own.

#[cfg(unix)]
#[path = "../examples/custom_backend/poll_loop.rs"]
mod poll_loop;
#[path = "../examples/custom_backend/scoped.rs"]
mod scoped;

polyserve::conformance!(scoped_threads, || scoped::Scoped::new("scoped"));
#[cfg(unix)]
polyserve::conformance!(one_poll_loop, || poll_loop::PollLoop);

/// Elsewhere a listener cannot be shut down, or that has another effect.
#[cfg(target_os = "linux")]
mod dead_listener {
    use polyserve::{Action, Backend, BoxError, Context, Handler, Input, ServeError, Server};
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::sync::mpsc;
    use std::time::Duration;

    /// The longest that any wait of these tests may take.
    const PATIENCE: Duration = Duration::from_secs(10);

    struct Echo;

    impl Handler for Echo {
        fn on_data(
            &mut self,
            input: &mut Input<'_>,
            cx: &mut Context<'_>,
        ) -> Result<Action, BoxError> {
            cx.send(input.take());
            Ok(Action::Continue)
        }
    }

    #[test]
    fn scoped_threads_end_when_the_last_listener_dies() {
        ends_when_the_last_listener_dies(super::scoped::Scoped::new("scoped"));
    }

    #[test]
    fn a_poll_loop_ends_when_the_last_listener_dies() {
        ends_when_the_last_listener_dies(super::poll_loop::PollLoop);
    }

    /// A backend that waits for its sessions before it reports the error must not wait for ever.
    fn ends_when_the_last_listener_dies(backend: impl Backend) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let killer = socket2::Socket::from(listener.try_clone().unwrap());
        let builder = Server::builder().backend(backend).listener(listener).unwrap();
        let server = builder.spawn(|_peer| Echo).unwrap();

        let mut client = TcpStream::connect(addr).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();

        // From here on, accept fails with EINVAL.
        killer.shutdown(Shutdown::Both).unwrap();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || tell.send(server.join()));
        let ended = told.recv_timeout(PATIENCE).expect("the server ends within the time-out");
        assert!(matches!(ended, Err(ServeError::Listener { .. })), "{ended:?}");
        let end = client.read(&mut [0]);
        assert!(matches!(end, Ok(0) | Err(_)), "the connection was closed, but gave {end:?}");
    }
}
