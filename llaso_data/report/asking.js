"use strict";
// What the pages that a person works in share: asking the server, and saving until it is confirmed.
const asking = (() => {
  const { one } = shared;
  const RETRY_MS = [500, 1000, 2000, 4000, 8000];
  const GONE = "The program does not answer. Is it still running?";

  async function ask(path, body) {
    const answer = await fetch(path, body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const said = answer.headers.get("Content-Type") === "application/json" ? await answer.json() : { error: await answer.text() };
    if (!answer.ok) throw new Error(said.error);
    return said;
  }
  const why = (error) => (error instanceof TypeError ? GONE : error.message);

  // Requests are sent one after the other; what is not confirmed is sent again until it is, and the banner says so.
  function saver(path, noun, tell) {
    const unsaved = [];
    let sending = null;
    async function send() {
      for (let failures = 0; unsaved.length; tell(unsaved.length)) {
        try {
          await ask(path, unsaved[0]);
          unsaved.shift();
          failures = 0;
          one("#banner").hidden = true;
        } catch (error) {
          one("#banner").textContent = `Not saved: ${unsaved.length} ${noun}${unsaved.length > 1 ? "s" : ""}. ${error instanceof TypeError ? "The program does not answer; start it again, or look at its terminal." : error.message} Trying again…`;
          one("#banner").hidden = false;
          await new Promise((later) => setTimeout(later, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]));
        }
      }
    }
    addEventListener("beforeunload", (event) => { if (unsaved.length) event.preventDefault(); });
    function save(request) {
      unsaved.push(request);
      sending ??= send().finally(() => { sending = null; });
      tell(unsaved.length);
    }
    return { save, settled: async () => { if (sending) await sending; } };
  }

  return { ask, saver, why };
})();
