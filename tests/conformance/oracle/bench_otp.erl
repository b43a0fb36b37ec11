%% OTP's side of `just bench-otp`: measures the real supervisor and prints one line for each figure, `name number`.
%% Times are in nanoseconds, rates per second, memory in bytes.
%%
%%   erl -noshell -pa . -run bench_otp main MEASURE...
-module(bench_otp).
-behaviour(gen_server).
-export([main/1, start_link/1, init/1, handle_call/3, handle_cast/2]).

main(Measures) ->
    logger:set_primary_config(level, none),
    process_flag(trap_exit, true),
    [measure(list_to_atom(M)) || M <- Measures],
    halt(0).

%% A child that says when it was born, if anybody wants to know; it fails when it is told to.
start_link(Bench) -> gen_server:start_link(?MODULE, Bench, []).
init({supervisor, Spec}) -> {ok, Spec};
init(none) -> {ok, none};
init(Bench) -> Bench ! {born, erlang:monotonic_time(nanosecond), self()}, {ok, Bench}.
handle_call(_, _, S) -> {reply, ok, S}.
handle_cast(fail, S) -> {stop, failed, S}.

supervisor(Strategy, Children) ->
    Flags = #{strategy => Strategy, intensity => 100000000, period => 3600},
    {ok, Sup} = supervisor:start_link(?MODULE, {supervisor, {Flags, Children}}),
    Sup.

child(Id) -> child(Id, self()).
child(Id, Bench) -> #{id => Id, start => {?MODULE, start_link, [Bench]}}.

stop(Sup) ->
    exit(Sup, shutdown),
    receive {'EXIT', Sup, _} -> ok end.

born() -> receive {born, At, Pid} -> {At, Pid} end.

%% Fails the child that says when it was born; the times from there to the birth that follows.
crash_loop(_, 0, Times) -> Times;
crash_loop(Pid, Rounds, Times) ->
    Sent = erlang:monotonic_time(nanosecond),
    gen_server:cast(Pid, fail),
    {At, Next} = born(),
    crash_loop(Next, Rounds - 1, [At - Sent | Times]).

p50(Times) -> lists:nth(length(Times) div 2 + 1, lists:sort(Times)).

rate(Count, Work) ->
    {Micros, Result} = timer:tc(Work),
    {Count * 1.0e6 / Micros, Result}.

print(Name, Value) -> io:format("~s ~w~n", [Name, Value]).

crashes(Name, Strategy, Count, Rounds) ->
    Sup = supervisor(Strategy, [child(N, none) || N <- lists:seq(1, Count - 1)] ++ [child(Count)]),
    {_, Last} = born(),
    print(Name, p50(crash_loop(Last, Rounds, []))),
    stop(Sup).

dynamic() ->
    supervisor(simple_one_for_one, [#{id => child, start => {?MODULE, start_link, []}}]).

fill(Sup, Count) -> [{ok, _} = supervisor:start_child(Sup, [none]) || _ <- lists:seq(1, Count)].

measure(restart) -> crashes("restart", one_for_one, 1, 5000);
measure(group) -> crashes("group", one_for_all, 10, 1000);
measure(window) ->
    Sup = supervisor(one_for_one, [child(1)]),
    {_, First} = born(),
    {Empty, _} = rate(2000, fun() -> crash_loop(First, 2000, []) end),
    print("window_empty", Empty),
    Second = running(Sup),
    crash_loop(Second, 8000, []),
    Third = running(Sup),
    {Full, _} = rate(2000, fun() -> crash_loop(Third, 2000, []) end),
    print("window_full", Full),
    stop(Sup);
measure(many) ->
    Sup = dynamic(),
    Before = erlang:memory(total),
    {Rate, _} = rate(100000, fun() -> fill(Sup, 100000) end),
    print("start_child", Rate),
    erlang:garbage_collect(),
    print("memory", (erlang:memory(total) - Before) div 100000),
    {ok, Pid} = supervisor:start_child(Sup, [self()]),
    _ = born(),
    print("siblings_100000", p50(crash_loop(Pid, 1000, []))),
    Begin = erlang:monotonic_time(nanosecond),
    stop(Sup),
    print("shutdown", erlang:monotonic_time(nanosecond) - Begin),
    Small = dynamic(),
    fill(Small, 10),
    {ok, Few} = supervisor:start_child(Small, [self()]),
    _ = born(),
    print("siblings_10", p50(crash_loop(Few, 1000, []))),
    stop(Small);
measure(lookup) ->
    Names = [list_to_atom("name-" ++ integer_to_list(N * 7919 rem 10000)) || N <- lists:seq(0, 9999)],
    Pids = [begin {ok, P} = start_link(none), register(N, P), P end || N <- Names],
    print("lookup_1", lookups(Names, 1)),
    print("lookup_2", lookups(Names, 2)),
    [begin unlink(P), exit(P, kill) end || P <- Pids].

running(Sup) ->
    [{_, Pid, _, _}] = supervisor:which_children(Sup),
    Pid.

%% The time of one look-up, in each of so many processes at once.
lookups(Names, Processes) ->
    Me = self(),
    Work = fun() -> [[true = is_pid(whereis(N)) || N <- Names] || _ <- lists:seq(1, 50)] end,
    Each = fun() ->
        Begin = erlang:monotonic_time(nanosecond),
        Work(),
        Me ! {took, erlang:monotonic_time(nanosecond) - Begin}
    end,
    [spawn(Each) || _ <- lists:seq(1, Processes)],
    Took = [receive {took, T} -> T end || _ <- lists:seq(1, Processes)],
    lists:sum(Took) / Processes / 500000.
