//! Calls and monitors: every end that a call can have.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use treewarden_otp::supervisor::{CallError, ChildSpec, ExitReason, Restart, Supervisor, call};

#[expect(dead_code, reason = "a port that is not answered is only dropped")]
enum Ask {
    Double(u32, RpcReplyPort<u32>),
    Late(RpcReplyPort<u32>),
    Fail(RpcReplyPort<u32>),
    Stop(RpcReplyPort<u32>),
    Lose(RpcReplyPort<u32>),
}

struct Server;

impl Actor for Server {
    type Msg = Ask;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Ask>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, me: ActorRef<Ask>, ask: Ask, (): &mut ()) -> Result<(), ActorProcessingErr> {
        match ask {
            Ask::Double(number, port) => drop(port.send(number * 2)),
            Ask::Late(port) => {
                tokio::time::sleep(Duration::from_secs(10)).await;
                assert!(port.send(0).is_err(), "a late reply reaches nobody");
            }
            Ask::Fail(_) => return Err(Box::new(ExitReason::message("typed"))),
            Ask::Stop(_) => me.stop(Some("shutdown".into())),
            Ask::Lose(_) => {}
        }
        Ok(())
    }
}

const LIMIT: Duration = Duration::from_secs(5);

async fn supervised() -> Supervisor {
    let spec = ChildSpec::actor("server", || (Server, ())).restart(Restart::Temporary);
    Supervisor::builder().child(spec).start().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_call_is_answered_or_says_that_it_was_not_in_time() {
    let (server, task) = Server::spawn(None, Server, ()).await.unwrap();
    assert_eq!(call(&server, LIMIT, |port| Ask::Double(4, port)).await.unwrap(), 8);
    assert!(matches!(call(&server, LIMIT, Ask::Lose).await, Err(CallError::Timeout(LIMIT))));
    assert!(matches!(call(&server, LIMIT, Ask::Late).await, Err(CallError::Timeout(LIMIT))));
    assert_eq!(call(&server, LIMIT * 2, |port| Ask::Double(5, port)).await.unwrap(), 10, "and it goes on");
    assert!(matches!(call(&server, LIMIT, Ask::Fail).await, Err(CallError::Exited(None))));
    task.await.unwrap();
    assert!(matches!(call(&server, LIMIT, Ask::Fail).await, Err(CallError::NoProc)));
}

#[tokio::test]
async fn a_child_that_ends_before_it_answers_tells_its_caller_how() {
    let supervisor = supervised().await;
    let child = supervisor.child("server").await.unwrap();
    assert_eq!(child.call(LIMIT, |port| Ask::Double(4, port)).await.unwrap(), 8);
    let failed = child.call(LIMIT, Ask::Fail).await;
    assert!(
        matches!(&failed, Err(CallError::Exited(Some(ExitReason::Error(cause)))) if cause.to_string() == "typed")
    );
    assert!(matches!(child.call(LIMIT, Ask::Fail).await, Err(CallError::NoProc)));
    supervisor.stop(ExitReason::Shutdown).await;

    let supervisor = supervised().await;
    let child = supervisor.child("server").await.unwrap();
    let (told, stopped) = tokio::join!(child.wait(), child.call(LIMIT, Ask::Stop));
    assert!(matches!(stopped, Err(CallError::Exited(Some(ExitReason::Shutdown)))), "{stopped:?}");
    assert!(matches!(told, ExitReason::Shutdown));
    supervisor.stop(ExitReason::Shutdown).await;

    let supervisor = supervised().await;
    let child = supervisor.child("server").await.unwrap();
    let (killed, told) = tokio::join!(child.call(LIMIT, Ask::Late), async {
        child.cell().kill();
        child.wait().await
    });
    assert!(matches!(killed, Err(CallError::Exited(Some(ExitReason::Killed)))), "{killed:?}");
    assert!(matches!(told, ExitReason::Killed) && matches!(child.wait().await, ExitReason::Killed));
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn trap_18_a_message_of_another_type_is_refused_before_it_is_sent() {
    struct Other;
    let supervisor = supervised().await;
    let child = supervisor.child("server").await.unwrap();
    let refused = child.call(LIMIT, |_: RpcReplyPort<()>| Other).await;
    assert!(matches!(refused, Err(CallError::WrongMessage(name)) if name.ends_with("Other")));
    assert!(child.extension::<ActorRef<Other>>().is_none(), "and no typed handle is made of it");
    assert_eq!(child.call(LIMIT, |port| Ask::Double(1, port)).await.unwrap(), 2, "the child lives on");
    supervisor.stop(ExitReason::Shutdown).await;
}
