// The telephone: shows what the simulated network says, sends what the person does.

const $ = (id) => document.getElementById(id);
const names = { agent: "Agent", you: "You", note: "" };
const words = {
  queued: "Being called…", initiated: "Being called…", ringing: "Ringing", "in-progress": "On the line",
  completed: "The call has ended", busy: "Declined", "no-answer": "Nobody answered", canceled: "Canceled", failed: "Failed",
};
let line;
let wait = 500;

function connect() {
  line = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/phone/line`);
  line.onopen = () => (wait = 500);
  line.onmessage = (event) => hear(JSON.parse(event.data));
  line.onclose = () => {
    show("idle", "The simulator is away; trying again…");
    setTimeout(connect, (wait = Math.min(wait * 2, 10_000)));
  };
}

function hear(message) {
  if (message.type === "state") return state(message);
  if (message.type === "line") return add(message.who, message.text);
  if (message.type === "cut") return cut();
}

function state({ number, numbers, call, lines }) {
  $("number").textContent = number;
  const select = $("to");
  if (select.options.length !== numbers.length) select.replaceChildren(...numbers.map((each) => new Option(each, each)));
  const rings = call?.is_live && call.direction === "in" && call.status !== "in-progress";
  const part = !call?.is_live ? "idle" : rings ? "ringing" : "talking";
  const toward = call ? ` · ${call.direction === "in" ? "from" : "to"} ${call.other}` : "";
  show(part, call ? (words[call.status] ?? call.status) + toward : "Waiting for a call");
  document.title = rings ? `Ringing: ${call.other}` : "Simulated telephone";
  $("lines").replaceChildren(...(lines.length ? [] : [empty()]));
  for (const each of lines) add(each.who, each.text, true);
  if (!call?.is_live) speechSynthesis?.cancel();
}

function show(part, text) {
  for (const each of ["idle", "ringing", "talking"]) $(each).hidden = each !== part;
  $("status").textContent = text;
  $("status").dataset.state = part;
}

function empty() {
  const item = document.createElement("li");
  item.className = "quiet";
  item.textContent = "Nothing yet.";
  return item;
}

function add(who, text, old = false) {
  const list = $("lines");
  if (list.firstElementChild?.className === "quiet") list.replaceChildren();
  const item = document.createElement("li");
  item.className = who;
  if (names[who]) {
    const name = document.createElement("b");
    name.textContent = names[who];
    item.append(name);
  }
  item.append(text);
  list.append(item);
  item.scrollIntoView({ block: "nearest" });
  if (who === "agent" && !old && $("aloud").checked) speechSynthesis?.speak(new SpeechSynthesisUtterance(text));
}

function cut() {
  speechSynthesis?.cancel();
  const last = [...document.querySelectorAll("#lines li.agent")].at(-1);
  if (!last || last.querySelector(".cut")) return;
  const mark = document.createElement("span");
  mark.className = "cut";
  mark.textContent = " cut off";
  last.append(mark);
}

const send = (message) => line?.readyState === 1 && line.send(JSON.stringify(message));

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.key) send({ do: "key", digit: button.dataset.key });
  if (button?.dataset.do) send({ do: button.dataset.do, to: $("to").value });
});
$("say").addEventListener("submit", (event) => {
  event.preventDefault();
  if ($("words").value.trim()) send({ do: "say", text: $("words").value });
  $("words").value = "";
  $("words").focus();
});
connect();
