// The image is sent when the drawing, the file, the model or the backend changes, one request at a time.

const element = (id) => document.getElementById(id);
const canvas = element("canvas"), pen = canvas.getContext("2d");
let strokes = [], file = null, choices = null;
let asking = false, askAgain = false;
const used = new Set(); // models and backends that have answered

function draw() {
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.strokeStyle = getComputedStyle(canvas).color;
  pen.lineWidth = canvas.width / 14;
  pen.lineCap = pen.lineJoin = "round";
  for (const stroke of strokes) {
    pen.beginPath();
    for (const [x, y] of stroke) pen.lineTo(x * canvas.width, y * canvas.height);
    if (stroke.length === 1) pen.lineTo(stroke[0][0] * canvas.width, stroke[0][1] * canvas.height);
    pen.stroke();
  }
  element("hint").hidden = strokes.length > 0 || file !== null;
}

function point(event) {
  const box = canvas.getBoundingClientRect();
  const within = (share) => Math.min(1, Math.max(0, share));
  return [within((event.clientX - box.left) / box.width), within((event.clientY - box.top) / box.height)];
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || !event.isPrimary) return;
  canvas.setPointerCapture(event.pointerId);
  strokes.push([point(event)]);
  draw();
});
canvas.addEventListener("pointermove", (event) => {
  if (!canvas.hasPointerCapture(event.pointerId)) return;
  strokes.at(-1).push(point(event));
  draw();
});
canvas.addEventListener("lostpointercapture", ask);

function take(chosen) {
  URL.revokeObjectURL(element("preview").src);
  file = chosen;
  element("preview").hidden = !file;
  if (file) {
    strokes = [];
    element("preview").src = URL.createObjectURL(file);
    element("preview").alt = file.name;
  } else {
    element("preview").removeAttribute("src");
    element("file").value = "";
  }
  draw();
  ask();
}

element("file").addEventListener("change", (event) => event.target.files[0] && take(event.target.files[0]));
element("clear").addEventListener("click", () => { strokes = []; take(null); });
element("undo").addEventListener("click", () => { if (!file) strokes.pop(); take(null); });

for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault(); // otherwise the browser opens the file
    element("board").classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
}
for (const id of ["model", "backend", "look"]) {
  element(id).addEventListener("change", () => { describe(); ask(); });
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

function describe() {
  element("description").textContent = choices.models[element("model").value];
}

function say(status, busy = false) {
  element("status").textContent = status;
  element("status").classList.toggle("busy", busy);
}

function showError(sentence) {
  element("error").textContent = sentence;
  element("error").hidden = !sentence;
}

function empty() {
  element("labels").replaceChildren();
  element("figure").hidden = true;
}

async function ask() {
  askAgain = asking;
  if (asking) return;
  showError("");
  if (!file && !strokes.length) {
    empty();
    say("Waiting for an image.");
    return;
  }
  if (file && file.size > choices.max_file) {
    empty();
    say("");
    showError(`The file has ${(file.size / 2 ** 20).toFixed(1)} MiB; the limit is ${choices.max_file / 2 ** 20} MiB.`);
    return;
  }
  asking = true;
  const [model, backend] = [element("model").value, element("backend").value];
  const isNew = !used.has(`${model} ${backend}`);
  say(isNew ? `Loading ${model} on ${backend}; published weights are downloaded the first time…` : "Looking…", true);
  try {
    // Labels first, because the attention maps of a large model take much longer.
    for (const look of element("look").checked ? [false, true] : [false]) {
      if (look && askAgain) break;
      const address = "answer?" + new URLSearchParams({ model, backend, look });
      const response = await fetch(address, {
        method: "POST",
        headers: { "Content-Type": file ? "application/octet-stream" : "application/json" },
        body: file ?? JSON.stringify(strokes),
      });
      const answer = await response.json();
      if (answer.error) throw new Error(answer.error);
      used.add(`${model} ${backend}`);
      show(answer);
      const took = `${model} on ${backend}: ${(answer.seconds * 1000).toFixed(0)} ms.`;
      const waits = element("look").checked && !look;
      say(waits ? took + " Computing where it looked…" : took, waits);
    }
  } catch (error) {
    empty();
    say("");
    showError(error instanceof TypeError ? "The server does not answer. Is it still running?" : error.message);
  }
  asking = false;
  if (askAgain) ask();
}

function show(answer) {
  element("labels").replaceChildren(...answer.predictions.map(({ label, probability }) => {
    const row = document.createElement("li");
    const [bar, name, number] = ["bar", "name", "number"].map((kind) => {
      const part = row.appendChild(document.createElement("span"));
      part.className = kind;
      return part;
    });
    bar.style.width = `${100 * probability}%`;
    name.textContent = label;
    number.textContent = `${(100 * probability).toFixed(1)}%`;
    return row;
  }));
  element("seen").src = element("under").src = answer.seen;
  element("heat").hidden = element("legend").hidden = !element("look").checked;
  element("looked").hidden = !answer.looked;
  if (answer.looked) element("looked").src = answer.looked;
  element("figure").hidden = false;
}

choices = await (await fetch("choices")).json();
for (const [id, names] of [["model", Object.keys(choices.models)], ["backend", choices.backends]]) {
  element(id).replaceChildren(...names.map((name) => new Option(name, name)));
  element(id).value = choices.chosen[id];
}
describe();
draw();
