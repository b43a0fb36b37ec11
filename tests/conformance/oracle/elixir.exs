# What Elixir's PartitionSupervisor, DynamicSupervisor and Registry answer, one line each: tests/elixir.rs asks ours the same.
#
#     elixir tests/conformance/oracle/elixir.exs > tests/conformance/elixir.golden

defmodule Say do
  def line(what, value), do: IO.puts("#{what}: #{show(value)}")
  def show(list) when is_list(list), do: "[" <> Enum.map_join(list, ", ", &show/1) <> "]"
  def show(tuple) when is_tuple(tuple), do: "(" <> Enum.map_join(Tuple.to_list(tuple), ", ", &show/1) <> ")"
  def show(other), do: to_string(other)
end

defmodule Kid do
  use GenServer
  def start_link(extra, own), do: start_link({extra, own})
  def start_link(arguments) do
    send(:teller, {:started, arguments})
    GenServer.start_link(__MODULE__, arguments)
  end
  def init(arguments), do: {:ok, arguments}
  def handle_call(:who, _, arguments), do: {:reply, arguments, arguments}
  def handle_call({:do, work}, _, arguments), do: {:reply, work.(), arguments}
  def handle_cast(:boom, _), do: exit(:boom)
end

defmodule Wait do
  def gone(pid) do
    ref = Process.monitor(pid)
    receive do {:DOWN, ^ref, _, _, _} -> :ok end
  end
  def started do
    receive do {:started, arguments} -> arguments after 2000 -> :nobody end
  end
  def until(probe), do: unless(probe.(), do: (Process.sleep(2); until(probe)))
end

Process.flag(:trap_exit, true)
Process.register(self(), :teller)
Logger.configure(level: :none)

# extra_arguments and max_children
{:ok, sup} = DynamicSupervisor.start_link(extra_arguments: [:extra], max_children: 2, max_restarts: 9)
spec = fn own -> %{id: own, start: {Kid, :start_link, [own]}} end
{:ok, one} = DynamicSupervisor.start_child(sup, spec.(:one))
Say.line("extra arguments at a start", Wait.started())
GenServer.cast(one, :boom)
Say.line("extra arguments at a restart", Wait.started())
{:ok, two} = DynamicSupervisor.start_child(sup, spec.(:two))
Say.line("extra arguments of another", Wait.started())
Say.line("a child too many", elem(DynamicSupervisor.start_child(sup, spec.(:three)), 1))
:ok = DynamicSupervisor.terminate_child(sup, two)
Say.line("a child twice terminated", elem(DynamicSupervisor.terminate_child(sup, two), 1))
{:ok, _} = DynamicSupervisor.start_child(sup, spec.(:three))
Say.line("a child in a place that is free again", Wait.started())
{:ok, none} = DynamicSupervisor.start_link(max_children: 0)
Say.line("a child where none may be", elem(DynamicSupervisor.start_child(none, spec.(:one)), 1))
counts = DynamicSupervisor.count_children(sup)
Say.line("counts", Enum.map([:specs, :active, :supervisors, :workers], &counts[&1]))

# PartitionSupervisor
{:ok, parts} =
  PartitionSupervisor.start_link(name: Parts, partitions: 3, max_restarts: 9,
    child_spec: %{id: :kid, start: {Kid, :start_link, []}},
    with_arguments: fn [], number -> [number] end)
Say.line("partitions start in order", for(_ <- 1..3, do: Wait.started()))
Say.line("partitions", PartitionSupervisor.partitions(Parts))
via = fn key -> {:via, PartitionSupervisor, {Parts, key}} end
numbers = [0, 1, 2, 3, 4, 7, -1, -2, -3, -7, 9_000_000_001]
Say.line("numbers", numbers)
Say.line("are routed to", Enum.map(numbers, &GenServer.call(via.(&1), :who)))
Say.line("the order of which_children", Enum.map(PartitionSupervisor.which_children(Parts), &elem(&1, 0)))
counts = PartitionSupervisor.count_children(Parts)
Say.line("counts of partitions", Enum.map([:specs, :active, :supervisors, :workers], &counts[&1]))
old = GenServer.whereis(via.(1))
GenServer.cast(old, :boom)
Say.line("a crashed partition starts again as", Wait.started())
Wait.until(fn -> GenServer.whereis(via.(1)) not in [nil, old] end)
Say.line("and its keys go to", GenServer.call(via.(4), :who))
Say.line("others stay", GenServer.call(via.(2), :who))
Supervisor.stop(parts)

# Registry
defmodule Keys do
  def run(kind, partitions) do
    say = fn what, value -> Say.line("#{kind}, #{partitions}: #{what}", value) end
    listener = :"listener_#{kind}_#{partitions}"
    Process.unregister(:teller)
    Process.register(self(), listener)
    name = :"reg_#{kind}_#{partitions}"
    {:ok, _} = Registry.start_link(keys: kind, name: name, partitions: partitions, listeners: [listener])
    Process.unregister(listener)
    Process.register(self(), :teller)
    Process.register(spawn_link(fn -> forward(:teller) end), listener)
    kids = for id <- [:a, :b], do: {id, elem(GenServer.start(Kid, id), 1)}
    who = fn pid -> Enum.find_value(kids, fn {id, known} -> if known == pid, do: id end) end
    by = fn id, work -> GenServer.call(kids[id], {:do, work}) end
    register = fn id, key, value ->
      case by.(id, fn -> Registry.register(name, key, value) end) do
        {:ok, _} -> :ok
        {:error, {:already_registered, pid}} -> {:taken, who.(pid)}
      end
    end
    entries = fn list -> list |> Enum.map(fn {pid, value} -> {who.(pid), value} end) |> Enum.sort() end
    lookup = fn key -> entries.(Registry.lookup(name, key)) end
    all = fn -> Registry.select(name, [{{:"$1", :"$2", :"$3"}, [], [{{:"$1", :"$2", :"$3"}}]}])
                |> Enum.map(fn {key, pid, value} -> {key, who.(pid), value} end) |> Enum.sort() end
    heard = fn ->
      receive do
        {:heard, {:register, _, key, pid, value}} -> {:register, key, who.(pid), value}
        {:heard, {:unregister, _, key, pid}} -> {:unregister, key, who.(pid)}
      after 100 -> :nothing end
    end
    say.("register k", register.(:a, "k", 1))
    say.("heard", heard.())
    say.("the same owner again", register.(:a, "k", 2))
    say.("another owner", register.(:b, "k", 3))
    say.("register l", register.(:a, "l", 4))
    say.("register m", register.(:b, "m", 5))
    Wait.until(fn -> heard.() == :nothing end)
    say.("lookup k", lookup.("k"))
    say.("lookup of nobody's key", lookup.("z"))
    say.("keys of a", Enum.sort(Registry.keys(name, kids[:a])))
    say.("values of k by a", Enum.sort(Registry.values(name, "k", kids[:a])))
    say.("count", Registry.count(name))
    say.("all", all.())
    say.("select of values over 2", Registry.select(name, [{{:"$1", :_, :"$3"}, [{:>, :"$3", 2}], [{{:"$1", :"$3"}}]}]) |> Enum.sort())
    say.("count of values over 2", Registry.count_select(name, [{{:_, :_, :"$3"}, [{:>, :"$3", 2}], [true]}]))
    say.("match of 1 under k", entries.(Registry.match(name, "k", 1)))
    say.("count of 1 under k", Registry.count_match(name, "k", 1))
    by.(:b, fn -> Registry.unregister_match(name, "k", 1) end)
    say.("lookup k after somebody else gave it up", lookup.("k"))
    if kind == :unique do
      say.("update by the owner", by.(:a, fn -> Registry.update_value(name, "k", &(&1 + 10)) end))
      say.("update by another", by.(:b, fn -> Registry.update_value(name, "k", &(&1 + 10)) end))
    end
    Process.exit(kids[:b], :kill)
    Wait.gone(kids[:b])
    Wait.until(fn -> Registry.keys(name, kids[:b]) == [] end)
    say.("all after the end of b", all.())
    say.("heard of the end", heard.())
    say.("count after the end of b", Registry.count(name))
    by.(:a, fn -> Registry.unregister(name, "k") end)
    say.("heard when a gives k up", heard.())
    say.("once only", heard.())
    say.("all after it", all.())
  end
  def forward(to), do: (receive do message -> send(to, {:heard, message}) end; forward(to))
end

for kind <- [:unique, :duplicate], partitions <- [1, 4], do: Keys.run(kind, partitions)
