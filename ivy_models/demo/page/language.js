// The text is sent when it or the backend changes, one request at a time.

const element = (id) => document.getElementById(id);
let asking = false, askAgain = false;

function showError(sentence) {
  element("error").textContent = sentence;
  element("error").hidden = !sentence;
}

function empty() {
  element("labels").replaceChildren();
  element("letters").replaceChildren();
  element("legend").hidden = true;
}

async function ask() {
  askAgain = asking;
  if (asking) return;
  showError("");
  const text = element("text").value;
  if (!text.trim()) {
    empty();
    element("status").textContent = "Waiting for a text.";
    return;
  }
  asking = true;
  try {
    const response = await fetch("language?" + new URLSearchParams({ backend: element("backend").value }), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(text),
    });
    const answer = await response.json();
    if (answer.error) throw new Error(answer.error);
    show(answer);
  } catch (error) {
    empty();
    element("status").textContent = "";
    showError(error instanceof TypeError ? "The server does not answer. Is it still running?" : error.message);
  }
  asking = false;
  if (askAgain) ask();
}

function show(answer) {
  element("status").textContent = `${answer.name}, ${(answer.seconds * 1000).toFixed(0)} ms.`;
  element("labels").replaceChildren(...answer.candidates.map(({ name, probability }) => {
    const row = document.createElement("li");
    const [bar, label, number] = ["bar", "name", "number"].map((kind) => {
      const part = row.appendChild(document.createElement("span"));
      part.className = kind;
      return part;
    });
    bar.style.width = `${100 * probability}%`;
    label.textContent = name;
    number.textContent = `${(100 * probability).toFixed(1)}%`;
    return row;
  }));
  const most = Math.max(...answer.shares);
  element("letters").replaceChildren(...[...answer.letters].map((letter, place) => {
    const mark = document.createElement("span");
    mark.textContent = letter;
    mark.style.backgroundColor = `rgb(230 110 20 / ${(70 * answer.shares[place] / most).toFixed(0)}%)`;
    return mark;
  }));
  element("legend").hidden = false;
}

const choices = await (await fetch("choices")).json();
element("backend").replaceChildren(...choices.backends.map((name) => new Option(name, name)));
element("backend").value = choices.chosen.backend;
element("text").addEventListener("input", ask);
element("backend").addEventListener("change", ask);
