// The page of llaso-model serve. Texts of the server are shown as text, never as HTML.
const $ = (id) => document.getElementById(id);
const MODEL = document.body.dataset.model, HAS_WORDS = Boolean(document.body.dataset.words), RATE = 24000;
let audio = null, words = [], recording = null, asking = null;

if (location.hash.length > 1) {
  sessionStorage.setItem("key", decodeURIComponent(location.hash.slice(1)));
  history.replaceState(null, "", location.pathname);
}
$("key").value = sessionStorage.getItem("key") || "";
$("key").oninput = () => sessionStorage.setItem("key", $("key").value.trim());

function problem(error) {
  $("problem").hidden = !error;
  $("problem").textContent = error ? error.message || String(error) : "";
}
const guarded = (work) => async (...given) => {
  problem(null);
  try { await work(...given); } catch (error) { if (error.name !== "AbortError") problem(error); }
};
async function ask(path, body, signal) {
  const headers = { Authorization: `Bearer ${$("key").value.trim()}` };
  if (!(body instanceof FormData)) { headers["Content-Type"] = "application/json"; body = JSON.stringify(body); }
  const answer = await fetch(path, { method: "POST", headers, body, signal });
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => null);
  throw new Error(said?.error?.message || `the server answers ${answer.status}`);
}
async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n\n");
    rest = lines.pop();
    for (const line of lines) {
      const data = line.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}

// Audio: recorded, chosen or dropped.
function use(blob, name) {
  audio = { blob, name };
  URL.revokeObjectURL($("sound").src);
  $("sound").src = URL.createObjectURL(blob);
  $("sound").hidden = false;
  $("transcribe").disabled = false;
  return transcribe();
}
const transcribe = guarded(async () => {
  const form = new FormData();
  form.append("file", audio.blob, audio.name);
  form.append("model", MODEL);
  form.append("response_format", "verbose_json");
  form.append("timestamp_granularities[]", "segment");
  if (HAS_WORDS) form.append("timestamp_granularities[]", "word");
  if ($("language").value.trim()) form.append("language", $("language").value.trim());
  $("transcript").className = "empty";
  $("transcript").textContent = "Listening …";
  try {
    show(await (await ask("v1/audio/transcriptions", form)).json());
  } catch (error) {
    $("transcript").textContent = "Nothing yet.";
    throw error;
  }
});
function show(said) {
  const timed = said.words?.length ? said.words : (said.segments || []).map((one) => ({ ...one, word: one.text }));
  $("transcript").className = said.text ? "" : "empty";
  $("transcript").textContent = said.text ? "" : "No speech.";
  words = [];
  let at = 0;
  for (const one of timed) {
    const place = said.text.indexOf(one.word, at);
    if (place < 0) continue;
    $("transcript").append(said.text.slice(at, place));
    const span = document.createElement("span");
    span.textContent = one.word;
    span.title = `${one.start.toFixed(2)}–${one.end.toFixed(2)} s`;
    span.onclick = () => { $("sound").currentTime = one.start; $("sound").play(); };
    $("transcript").append(span);
    words.push({ ...one, span });
    at = place + one.word.length;
  }
  $("transcript").append(said.text.slice(at));
  $("save").disabled = !said.text;
}
$("sound").ontimeupdate = () => {
  const now = $("sound").currentTime;
  for (const one of words) one.span.classList.toggle("now", !$("sound").paused && one.start <= now && now < one.end);
};
$("transcribe").onclick = () => transcribe();
$("save").onclick = guarded(async () => {
  const form = new FormData();
  form.append("file", audio.blob, audio.name);
  form.append("model", MODEL);
  form.append("response_format", "srt");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await (await ask("v1/audio/transcriptions", form)).blob());
  link.download = `${audio.name.replace(/\.[^.]*$/, "")}.srt`;
  link.click();
});
$("file").onchange = () => $("file").files[0] && use($("file").files[0], $("file").files[0].name);
for (const kind of ["dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    const file = kind === "drop" && event.dataTransfer.files[0];
    if (file) use(file, file.name);
  });
}

// The microphone: sent as it is heard, shown as it is confirmed.
$("record").onclick = guarded(async () => {
  if (recording) return stopRecording();
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  const context = new AudioContext({ sampleRate: RATE });
  await context.audioWorklet.addModule("recorder.js");
  const node = new AudioWorkletNode(context, "recorder");
  const address = new URL(`v1/realtime?model=${encodeURIComponent(MODEL)}`, location.href.replace(/^http/, "ws"));
  const socket = new WebSocket(address, ["realtime", `openai-insecure-api-key.${$("key").value.trim()}`]);
  const blocks = [], waiting = [];
  const send = (event) => (socket.readyState === 1 ? socket.send(JSON.stringify(event)) : waiting.push(event));
  recording = { stream, context, socket, blocks, send };
  socket.onopen = () => {
    const input = { format: { type: "audio/pcm", rate: RATE }, transcription: { model: MODEL }, turn_detection: { type: "server_vad" } };
    if ($("language").value.trim()) input.transcription.language = $("language").value.trim();
    socket.send(JSON.stringify({ type: "session.update", session: { type: "transcription", audio: { input } } }));
    for (const event of waiting.splice(0)) socket.send(JSON.stringify(event));
  };
  socket.onmessage = (message) => {
    const event = JSON.parse(message.data);
    if (event.type.endsWith("transcription.delta")) $("live").append(event.delta);
    else if (event.type.endsWith("transcription.completed")) $("live").append(" ");
    else if (event.type === "error") problem(event.error);
  };
  socket.onerror = () => problem(new Error("no live transcript: the server does not take this key, or is not there"));
  node.port.onmessage = ({ data }) => {
    blocks.push(data);
    draw(data);
    send({ type: "input_audio_buffer.append", audio: base64(new Uint8Array(data.buffer)) });
  };
  context.createMediaStreamSource(stream).connect(node);
  $("live").textContent = "";
  $("record").ariaPressed = "true";
  $("record-label").textContent = "Stop";
});
async function stopRecording() {
  const { stream, context, socket, blocks } = recording;
  recording = null;
  $("record").ariaPressed = "false";
  $("record-label").textContent = "Record";
  for (const track of stream.getTracks()) track.stop();
  await context.close();
  socket.close();
  if (blocks.length) await use(wav(blocks), "recording.wav");
}
function draw(block) {
  const canvas = $("level"), pen = canvas.getContext("2d");
  pen.drawImage(canvas, -3, 0);
  pen.clearRect(canvas.width - 3, 0, 3, canvas.height);
  const peak = block.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 32768;
  const height = Math.max(2, peak * canvas.height);
  pen.fillStyle = getComputedStyle(document.body).getPropertyValue("--mark");
  pen.fillRect(canvas.width - 3, (canvas.height - height) / 2, 2, height);
}
function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}
function wav(blocks) {
  const size = blocks.reduce((sum, one) => sum + one.byteLength, 0), head = new DataView(new ArrayBuffer(44));
  const text = (at, letters) => [...letters].forEach((one, place) => head.setUint8(at + place, one.charCodeAt(0)));
  text(0, "RIFF"); head.setUint32(4, size + 36, true); text(8, "WAVEfmt "); head.setUint32(16, 16, true);
  head.setUint16(20, 1, true); head.setUint16(22, 1, true); head.setUint32(24, RATE, true);
  head.setUint32(28, 2 * RATE, true); head.setUint16(32, 2, true); head.setUint16(34, 16, true);
  text(36, "data"); head.setUint32(40, size, true);
  return new Blob([head, ...blocks], { type: "audio/wav" });
}

// Questions: answered as text, aloud where that is asked for.
$("ask").onsubmit = (event) => { event.preventDefault(); question(); };
$("question").onkeydown = (event) => { if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); question(); } };
$("stop").onclick = () => asking?.abort();
const question = guarded(async () => {
  const content = [{ type: "text", text: $("question").value }], aloud = $("aloud")?.checked;
  if ($("with-audio").checked && audio) {
    const data = base64(new Uint8Array(await audio.blob.arrayBuffer()));
    content.push({ type: "input_audio", input_audio: { data, format: audio.name.split(".").pop() } });
  }
  const body = { model: MODEL, messages: [{ role: "user", content }], stream: true };
  if (aloud) Object.assign(body, { modalities: ["text", "audio"], audio: { voice: $("voice").value, format: "pcm16" } });
  asking?.abort();
  asking = new AbortController();
  $("stop").hidden = false;
  $("answer").className = "";
  $("answer").textContent = "";
  $("spoken").hidden = true;
  const parts = [];
  try {
    for await (const event of events(await ask("v1/chat/completions", body, asking.signal))) {
      const delta = event.choices?.[0]?.delta || {};
      $("answer").append(delta.content || delta.audio?.transcript || "");
      if (delta.audio?.data) parts.push(Uint8Array.from(atob(delta.audio.data), (one) => one.charCodeAt(0)));
    }
    if (parts.length) {
      URL.revokeObjectURL($("spoken").src);
      $("spoken").src = URL.createObjectURL(wav(parts));
      $("spoken").hidden = false;
      await $("spoken").play().catch(() => null);  // a browser may want a click first
    }
  } finally {
    $("stop").hidden = true;
  }
});
