//! Wraps a session in an actor of one's own.
//!
//! Run with `cargo run -p treewarden-examples --example 05_wrapped_in_an_actor`. A `ChatAgent` has its own messages and
//! its own state, here a count of what it was asked, and keeps a session for the answers.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, call_t};
use treewarden::{Session, SessionOptions};
use treewarden_examples::Stage;

struct ChatAgent;

enum Chat {
    Say(String, RpcReplyPort<Result<String, String>>),
    HowMany(RpcReplyPort<u32>),
}

struct State {
    session: Session,
    asked: u32,
}

impl Actor for ChatAgent {
    type Msg = Chat;
    type State = State;
    type Arguments = SessionOptions;

    async fn pre_start(
        &self,
        _: ActorRef<Chat>,
        options: SessionOptions,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State { session: Session::start(options).await?, asked: 0 })
    }

    async fn handle(
        &self,
        _: ActorRef<Chat>,
        chat: Chat,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match chat {
            Chat::Say(text, reply) => {
                state.asked += 1;
                // The agent answers in order. One that is to take more messages meanwhile spawns a task here, which
                // owns a clone of the session and the reply port.
                let answer = state.session.query(text).await;
                // A caller that has stopped waiting is no fault of the agent's: an error here would end it.
                let _late = reply.send(answer.map(|answer| answer.text).map_err(|error| error.to_string()));
            }
            Chat::HowMany(reply) => {
                let _late = reply.send(state.asked);
            }
        }
        Ok(())
    }

    /// Runs on a graceful stop only. An agent that is killed leaves its session, which is found by its name.
    async fn post_stop(&self, _: ActorRef<Chat>, state: &mut State) -> Result<(), ActorProcessingErr> {
        Ok(state.session.stop().await?)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let options = stage.options(stage.spec().name("chat-agent".parse()?));
    let (agent, ended) = Actor::spawn(None, ChatAgent, options).await?;

    for text in ["My name is Alice.", "What is my name?"] {
        let answer = call_t!(agent, Chat::Say, 60_000, text.to_owned())?;
        println!("{}", answer.map_err(anyhow::Error::msg)?);
    }
    println!("asked {} times", call_t!(agent, Chat::HowMany, 1_000)?);

    agent.stop(None);
    ended.await?;
    println!("the agent is gone, and its session: {:?}", stage.host().session("chat-agent").is_none());
    Ok(())
}
