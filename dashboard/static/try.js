// Typing with an agent: what is typed goes out over a WebSocket, what the agent says is shown as it comes.

const panel = document.getElementById("try");
const [list, told, status, form, text, start, end, unsaved] = [
  "lines", "told", "status", "form", "text", "start", "end", "unsaved",
].map((name) => document.getElementById(`try-${name}`));
const NAMES = { agent: "Agent", person: "You", tool: "Tool", note: "Note", fault: "Trouble" };
let socket = null;
let open = null; // the agent's line that is being written
let waiting = null;

function begin() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const own = new WebSocket(`${scheme}://${location.host}${panel.dataset.url}`);
  let ended = false;
  socket = own;
  open = null;
  list.replaceChildren();
  list.hidden = form.hidden = false;
  start.hidden = true;
  status.textContent = "Connecting…";
  own.onopen = () => {
    own.send(JSON.stringify({ csrf_token: panel.dataset.token }));
    think();
    text.focus();
  };
  own.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (own !== socket) return;
    if (message.type === "over") ended = true;
    hear(message);
  };
  own.onclose = () => {
    if (own !== socket) return;
    if (!ended) over("The connection was lost. Start again to go on trying.");
  };
}

function hear(message) {
  if (message.type === "text") return write(message);
  if (message.type === "cut") return cut();
  if (message.type === "over") return over(message.text);
  if (message.type === "tool") return tool(message);
  line(message.type, message.text);
  announce(message.text);
}

function write(message) {
  calm();
  open ??= message.text.trim() ? line("agent", "") : null;
  if (!open) return;
  open.append(message.text);
  list.scrollTop = list.scrollHeight;
  if (!message.last) return;
  announce(`Agent: ${open.textContent}`);
  open = null;
}

function cut() {
  const said = open ?? [...list.querySelectorAll(".agent p")].at(-1);
  open = null;
  if (!said) return;
  const mark = document.createElement("span");
  mark.className = "cut";
  mark.textContent = "cut off";
  said.append(" ", mark);
}

function tool({ id, text: words, result }) {
  const known = document.getElementById(`try-tool-${id}`);
  const body = known ?? line("tool", "");
  body.id = `try-tool-${id}`;
  body.textContent = result ? `${words} – ${result}` : words;
  list.scrollTop = list.scrollHeight;
  if (result) announce(body.textContent);
}

function line(who, words) {
  calm();
  const item = document.createElement("li");
  const [head, name, body] = ["header", "b", "p"].map((tag) => document.createElement(tag));
  item.className = who === "agent" || who === "person" ? who : `note ${who}`;
  name.textContent = NAMES[who];
  body.textContent = words;
  head.append(name);
  item.append(head, body);
  list.append(item);
  list.scrollTop = list.scrollHeight;
  return body;
}

const announce = (words) => (told.textContent = words);

// Answers come within a second; only a longer silence needs a word.
function think() {
  calm();
  waiting = setTimeout(() => (status.textContent = "The agent is thinking…"), 800);
}

function calm() {
  clearTimeout(waiting);
  status.textContent = "";
}

function over(words) {
  calm();
  const hadFocus = form.contains(document.activeElement);
  socket?.close();
  socket = null;
  status.textContent = words;
  form.hidden = true;
  list.hidden = !list.childElementCount;
  start.hidden = false;
  start.textContent = "Start again";
  if (hadFocus) start.focus();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const words = text.value.trim();
  if (!words || socket?.readyState !== 1) return;
  open = null;
  line("person", words);
  socket.send(JSON.stringify({ say: words }));
  text.value = "";
  think();
});
start.addEventListener("click", begin);
end.addEventListener("click", () => over("You ended the trial."));
start.hidden = false;

// What is tried is what was saved: say so as soon as the form differs.
const edited = document.querySelector("form.form");
const entered = () => new URLSearchParams(new FormData(edited)).toString();
const saved = panel.dataset.unsaved ? "" : entered();
const compare = () => (unsaved.hidden = entered() === saved);
edited.addEventListener("input", compare);
addEventListener("pageshow", compare); // a browser may restore what was typed before
compare();
