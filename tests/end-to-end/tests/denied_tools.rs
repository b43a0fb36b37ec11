//! A tool that the real CLI refuses, since nothing allows it: told with what would allow it, by its turn alone.

use treewarden::Session;
use treewarden::events::Happening;
use treewarden::session::Outcome;
use treewarden_end_to_end::end;
use treewarden_end_to_end::real::RealLab;
use treewarden_proto::spec::PermissionMode;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_the_real_cli_refuses_is_told_with_what_would_allow_it() {
    let Some(real) = RealLab::new().await else { return };
    let spec = real.spec("worker").permission_mode(PermissionMode::Default);
    let session = Session::start(real.of(spec)).await.expect("started");
    let mut all = Vec::new();
    for prompt in ["PROMPT-1 BASH=touch forbidden.txt;;", "PROMPT-2"] {
        let turn = session.stream(prompt).await.expect("opened");
        let delivered = turn.delivered().await.expect("an outcome");
        assert!(matches!(delivered.outcome, Outcome::Completed(_)), "{delivered:?}");
        all.push(delivered.outcome.denied());
    }
    assert!(!real.work().join("forbidden.txt").exists(), "it did not run");
    let [first, second] = &all[..] else { panic!("two turns") };
    let rules: Vec<_> = first.iter().map(|denied| (denied.tool.as_str(), denied.rule.as_str())).collect();
    assert_eq!(rules, [("Bash", "Bash(touch:*)")]);
    assert_eq!(second.len(), 0, "of the turn before: {second:?}");
    let mut kept = real.lab.host.events().kept();
    let (mut told, mut settled) = (0, 0);
    while settled < 2 {
        match &kept.next().await.expect("the host lives").expect("all is kept").what {
            Happening::ToolsDenied { rules, .. } => {
                assert_eq!((settled, &rules[..]), (0, &["Bash(touch:*)".to_owned()][..]));
                told += 1;
            }
            Happening::TurnSettled { .. } => settled += 1,
            _ => {}
        }
    }
    assert_eq!(told, 1);
    // With that rule it runs.
    let spec = real.spec("second").permission_mode(PermissionMode::Default).allowed_tools(["Bash(touch:*)"]);
    let second = Session::start(real.of(spec)).await.expect("started");
    let turn = second.stream("PROMPT-3 BASH=touch allowed.txt;;").await.expect("opened");
    assert_eq!(turn.delivered().await.expect("an outcome").outcome.denied(), []);
    assert!(real.work().join("allowed.txt").exists(), "it ran");
    end(&session).await;
    end(&second).await;
}
