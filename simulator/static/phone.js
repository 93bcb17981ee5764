// The telephone: shows what the simulated network says, sends what the person does.

const $ = (id) => document.getElementById(id);
const names = { agent: "Agent", you: "You", voicemail: "Voicemail" };
const words = {
  queued: "Being called…", initiated: "Being called…", ringing: "Ringing", "in-progress": "On the line",
  busy: "Declined", "no-answer": "Nobody answered", canceled: "Canceled", failed: "Failed",
};
const endings = { far_end: "You hung up", twiml: "The agent hung up", api: "The other side hung up", time_limit: "The longest call is over" };
const voice = window.speechSynthesis;
const read = new Map(); // by line: how much of it was said aloud
let line;
let wait = 500;
let part = "";
let language = "";

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
  if (message.type === "line") return put(message);
}

function state({ number, numbers, call, lines }) {
  $("number").textContent = number;
  const select = $("to");
  const known = [...select.options].map((each) => each.value);
  if (known.join() !== numbers.join()) select.replaceChildren(...numbers.map((each) => new Option(each, each)));
  const rings = call?.is_live && call.direction === "in" && call.status === "ringing";
  const isUp = call?.is_live && (call.direction === "out" || call.status === "in-progress");
  const now = !call?.is_live ? "idle" : rings ? "ringing" : isUp ? "talking" : "waiting";
  const toward = call ? ` · ${call.direction === "in" ? "from" : "to"} ${call.other}` : "";
  const word = call && (call.status === "completed" ? (call.is_voicemail ? "Voicemail took it" : endings[call.ended_by]) : words[call.status]);
  language = call?.language ?? "";
  $("say").hidden = $("keys").hidden = Boolean(call?.is_voicemail);
  document.title = rings ? `Ringing: ${call.other}` : "Simulated telephone";
  const shown = new Set(lines.map((each) => `line-${each.id}`));
  for (const item of [...$("lines").children]) if (!shown.has(item.id)) item.remove();
  if (!lines.length) $("lines").replaceChildren(empty());
  for (const each of lines) put(each, true);
  if (!call?.is_live) voice?.cancel();
  show(now, call ? `${call.is_voicemail && call.is_live ? "Voicemail has it" : (word ?? call.status)}${toward}` : "Waiting for a call");
}

function show(next, text) {
  for (const each of ["idle", "ringing", "talking"]) $(each).hidden = each !== next;
  $("status").textContent = text;
  $("status").dataset.state = next;
  if (next !== part && next === "ringing" && document.activeElement === document.body) $("answer").focus();
  if (next !== part && next === "talking") $("words").focus();
  part = next;
}

function empty() {
  const item = document.createElement("li");
  item.className = "quiet";
  item.textContent = "Nothing yet.";
  return item;
}

// A line as it is now: what has sounded, what is still to sound, or what was cut off.
function put(said, isOld = false) {
  const list = $("lines");
  list.querySelector(".quiet")?.remove();
  const item = $(`line-${said.id}`) ?? list.appendChild(Object.assign(document.createElement("li"), { id: `line-${said.id}` }));
  item.className = said.who;
  const parts = [];
  if (names[said.who]) parts.push(made("b", names[said.who]));
  const heard = said.who === "agent" ? said.heard : said.text.length;
  parts.push(said.text.slice(0, heard));
  const rest = said.text.slice(heard);
  if (rest.trim()) parts.push(made(said.is_cut ? "s" : "i", rest), ...(said.is_cut ? [made("small", "cut off")] : []));
  item.replaceChildren(...parts);
  list.scrollTop = list.scrollHeight;
  if (said.who === "agent") aloud(said, isOld);
}

function made(name, text) {
  const element = document.createElement(name);
  element.textContent = text;
  return element;
}

// Whole sentences are said, and told to screen readers, as soon as they are known; a cut ends them.
function aloud(said, isOld) {
  if (said.is_cut) {
    if (!isOld && read.get(said.id) !== Infinity) voice?.cancel();
    return read.set(said.id, Infinity);
  }
  const from = read.get(said.id) ?? 0;
  const rest = said.text.slice(from);
  const upTo = said.is_open ? rest.match(/^.*[.!?](?=\s)/s)?.[0].length ?? 0 : rest.length;
  if (!upTo) return;
  read.set(said.id, from + upTo);
  const sentence = rest.slice(0, upTo).trim();
  if (isOld || !sentence) return;
  $("announcement").textContent = `Agent: ${sentence}`;
  if (!$("aloud").checked || !voice) return;
  const speech = new SpeechSynthesisUtterance(sentence);
  speech.lang = language;
  voice.speak(speech);
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
$("aloud").checked = localStorage.getItem("aloud") !== "no";
$("aloud").addEventListener("change", () => {
  localStorage.setItem("aloud", $("aloud").checked ? "yes" : "no");
  if (!$("aloud").checked) voice?.cancel();
});
connect();
