// Improves pages that work without it: keys, live updates, completion, times that go on.
"use strict";
(() => {
  const root = document.documentElement;
  const base = root.dataset.base;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector, within = document) => within.querySelector(selector);
  root.classList.add("scripted");

  // -- what was told stays told: not once more after a reload

  const here = new URL(location.href);
  if (here.searchParams.has("done")) {
    for (const name of ["done", "n"]) here.searchParams.delete(name);
    history.replaceState(null, "", here);
  }

  // -- colours

  const themes = one("[data-theme-form]");
  themes?.addEventListener("submit", (event) => {
    const chosen = event.submitter;
    if (!chosen) return;
    event.preventDefault();
    const body = new URLSearchParams(new FormData(themes));
    body.set("theme", chosen.value);
    if (chosen.value) root.dataset.theme = chosen.value;
    else delete root.dataset.theme;
    for (const each of all("button", themes)) each.setAttribute("aria-pressed", each === chosen);
    // Where it cannot be kept, it holds for this page at least.
    fetch(themes.action, { method: "POST", body, redirect: "manual" }).catch(() => {});
  });

  // -- times

  const ago = (moment) => {
    const seconds = (Date.now() - moment) / 1000;
    if (seconds < 60) return "just now";
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
    if (seconds < 14 * 86400) return `${Math.floor(seconds / 86400)} d ago`;
    return null;
  };
  const tellTimes = () => {
    for (const each of all("time[data-ago]")) {
      const text = ago(Date.parse(each.dateTime));
      if (text !== null && each.textContent !== text) each.textContent = text;
    }
  };
  setInterval(tellTimes, 30_000);

  // -- menus

  document.addEventListener("click", (event) => {
    for (const menu of all("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });
  for (const menu of all("details.menu")) {
    menu.addEventListener("toggle", () => {
      const box = one(":scope > div", menu);
      if (!menu.open || !box) return;
      // Within the window, whichever side that is.
      box.removeAttribute("data-side");
      if (box.getBoundingClientRect().right > document.documentElement.clientWidth - 8) {
        box.dataset.side = "right";
      }
    });
  }

  // -- texts to take along

  for (const button of all("[data-copy]")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.lastChild.textContent = "Copied";
    });
  }

  // -- selecting many

  const bulk = document.getElementById("bulk");
  const boxes = () => all('input[name="ticket"][form="bulk"]');
  const tellSelected = () => {
    if (!bulk) return;
    const count = boxes().filter((box) => box.checked).length;
    bulk.classList.toggle("has-some", count > 0);
    const whole = one("[data-select-all]", bulk);
    whole.checked = count > 0 && count === boxes().length;
    whole.indeterminate = count > 0 && !whole.checked;
    one("[data-selected]", bulk).textContent = count ? `${count} selected` : "Select all on this page";
  };
  if (bulk) {
    const whole = one("[data-select-all]", bulk);
    whole.hidden = false;
    whole.addEventListener("change", () => {
      for (const box of boxes()) box.checked = whole.checked;
      tellSelected();
    });
    document.addEventListener("change", (event) => {
      if (event.target.matches?.('input[name="ticket"]')) tellSelected();
    });
    addEventListener("pageshow", tellSelected);
    tellSelected();
  }

  // -- keys

  const rows = all("[data-row]");
  let current = -1;
  const moveTo = (index) => {
    if (!rows.length) return;
    rows[current]?.classList.remove("current");
    current = Math.max(0, Math.min(rows.length - 1, index));
    const row = rows[current];
    row.classList.add("current");
    one("a.title", row)?.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  };
  const currentRow = () => {
    const focused = document.activeElement?.closest?.("[data-row]");
    if (focused) current = rows.indexOf(focused);
    return rows[current];
  };
  const actOnRows = (name, value) => {
    if (!bulk) return false;
    if (!boxes().some((box) => box.checked)) {
      const box = currentRow() && one('input[name="ticket"]', currentRow());
      if (!box) return false;
      box.checked = true;
    }
    const button = one(`button[name="${name}"][value="${value}"]`, bulk);
    bulk.requestSubmit(button);
    return true;
  };
  const press = (key) => {
    const target = one(`[data-key="${CSS.escape(key)}"]`);
    if (!target) return false;
    if (target.matches("input, textarea")) {
      target.focus();
      target.select?.();
    } else {
      target.click();
      const menu = target.closest("details.menu");
      if (menu?.open) one("button, input, a", one(":scope > div", menu))?.focus();
    }
    return true;
  };
  const help = document.getElementById("keys");
  const keys = {
    j: () => moveTo(currentRow() ? current + 1 : 0),
    k: () => moveTo(currentRow() ? current - 1 : 0),
    o: () => currentRow() && one("a.title", currentRow())?.click(),
    x: () => {
      const box = currentRow() && one('input[name="ticket"]', currentRow());
      box?.click();
    },
    s: () => actOnRows("action", "solve") || press("s"),
    i: () => actOnRows("ignore", "forever") || press("i"),
    "?": () => help?.showModal(),
  };
  const stored = (() => {
    try {
      return window.localStorage;
    } catch {
      return null; // closed to us; then it holds for this page
    }
  })();
  let areOn = stored?.getItem("tickets-keys") !== "off";
  const keySwitch = one("[data-keys-switch]");
  if (keySwitch) {
    keySwitch.checked = areOn;
    keySwitch.addEventListener("change", () => {
      areOn = keySwitch.checked;
      stored?.setItem("tickets-keys", areOn ? "on" : "off");
    });
  }
  const isTyping = (target) =>
    target.matches?.('input:not([type="checkbox"], [type="radio"]), textarea, select, [contenteditable]');
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented) return;
    if (event.key === "Escape") {
      for (const menu of all("details.menu[open]")) {
        menu.open = false;
        one("summary", menu).focus();
      }
      if (isTyping(event.target)) {
        event.preventDefault(); // a search would be emptied
        event.target.blur();
      }
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || help?.open || isTyping(event.target)) return;
    if (!areOn && event.key !== "?") return;
    const action = keys[event.key];
    if (action) {
      event.preventDefault();
      action();
    } else if (event.key.length === 1 && press(event.key)) {
      event.preventDefault();
    }
  });

  // -- live

  const note = one("[data-live-note]");
  const { live: kind, mark: seenMark } = document.body.dataset;
  const look = async () => {
    const address = new URL(`${base}/updates`, location.href);
    for (const name of ["since", "ticket", "count", "state"]) {
      if (document.body.dataset[name]) address.searchParams.set(name, document.body.dataset[name]);
    }
    if (kind === "list" && here.searchParams.has("q")) address.searchParams.set("q", here.searchParams.get("q"));
    const answer = await fetch(address, { headers: { Accept: "application/json" } });
    if (!answer.ok) return;
    const { text } = await answer.json();
    const link = one("a", note) ?? document.createElement("a");
    link.href = here;
    if (link.textContent !== text) link.textContent = text;
    if (!link.isConnected) note.append(link);
  };
  if (note && kind && "EventSource" in window) {
    let timer = 0;
    const listen = (event) => {
      if (JSON.parse(event.data).mark === seenMark || timer) return;
      // Not more than once in a while, however busy the services are.
      timer = setTimeout(() => {
        timer = 0;
        look().catch(() => {});
      }, 300);
    };
    let source = null;
    // Browsers keep few connections to one host: pages that nobody sees let go of theirs, and are
    // told what they missed when somebody does.
    const listenIfSeen = () => {
      source?.close();
      source = null;
      if (document.visibilityState === "hidden") return;
      source = new EventSource(`${base}/api/v1/events`);
      source.addEventListener("mark", listen);
      source.addEventListener("change", listen);
    };
    listenIfSeen();
    document.addEventListener("visibilitychange", listenIfSeen);
    addEventListener("pageshow", (event) => event.persisted && listenIfSeen());
    addEventListener("pagehide", () => source?.close());
  }

  // -- completion of searches

  const input = one("[data-search] input[type=search]");
  if (input) {
    const words = JSON.parse(input.dataset.words ?? "[]");
    const values = new Map();
    const list = document.createElement("div");
    list.id = "q-list";
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", "Completions");
    list.hidden = true;
    input.after(list);
    input.setAttribute("role", "combobox");
    input.setAttribute("aria-expanded", "false");
    input.setAttribute("aria-controls", list.id);
    input.setAttribute("aria-autocomplete", "list");
    let chosen = -1;
    const close = () => {
      list.hidden = true;
      chosen = -1;
      input.setAttribute("aria-expanded", "false");
      input.removeAttribute("aria-activedescendant");
    };
    const wordAtCaret = () => {
      const text = input.value.slice(0, input.selectionStart ?? input.value.length);
      return text.slice(text.search(/\S*$/));
    };
    const fetchValues = (name) => {
      // Asked for once, however fast somebody types.
      if (!values.has(name)) {
        const address = `${base}/completions?field=${encodeURIComponent(name)}`;
        const found = fetch(address, { headers: { Accept: "application/json" } })
          .then(async (answer) => (answer.ok ? (await answer.json()).values : []));
        values.set(name, found);
      }
      return values.get(name);
    };
    const take = (option) => {
      const word = wordAtCaret();
      const end = input.selectionStart ?? input.value.length;
      const text = option.dataset.text + (option.dataset.text.endsWith(":") ? "" : " ");
      input.setRangeText(text, end - word.length, end, "end");
      input.focus();
      close();
      if (text.endsWith(":")) suggest();
    };
    const show = (found) => {
      list.replaceChildren();
      chosen = -1;
      found.forEach(({ text, meaning }, index) => {
        const option = document.createElement("div");
        option.id = `q-option-${index}`;
        option.setAttribute("role", "option");
        option.setAttribute("aria-selected", "false");
        option.dataset.text = text;
        const label = document.createElement("span");
        label.textContent = text;
        option.append(label);
        if (meaning) {
          const small = document.createElement("small");
          small.textContent = meaning;
          option.append(small);
        }
        option.addEventListener("mousedown", (event) => {
          event.preventDefault();
          take(option);
        });
        list.append(option);
      });
      list.hidden = !found.length;
      input.setAttribute("aria-expanded", String(found.length > 0));
      input.removeAttribute("aria-activedescendant");
    };
    const quoted = (value) => (/^[^\s()",\\:-][^\s()",\\]*$/.test(value) ? value : `"${value.replace(/["\\]/g, "\\$&")}"`);
    const suggest = async () => {
      const word = wordAtCaret();
      const sign = word.startsWith("-") ? "-" : "";
      const bare = word.slice(sign.length);
      const [key, rest] = bare.includes(":") ? bare.split(/:(.*)/s) : [bare, null];
      let found;
      if (rest === null) {
        found = words.filter(({ text }) => text.startsWith(bare) && text !== bare);
      } else {
        const known = words.find(({ text }) => text === `${key}:`);
        if (!known) return close();
        const options = known.values ?? (known.field ? await fetchValues(known.field) : []);
        if (wordAtCaret() !== word) return;
        found = options
          .filter((value) => value.toLowerCase().startsWith(rest.toLowerCase()) && value !== rest)
          .map((value) => ({ text: `${key}:${quoted(value)}` }));
      }
      show(found.slice(0, 12).map(({ text, meaning }) => ({ text: sign + text, meaning })));
    };
    const choose = (index) => {
      const options = all("[role=option]", list);
      if (!options.length) return;
      options[chosen]?.setAttribute("aria-selected", "false");
      chosen = (index + options.length) % options.length;
      options[chosen].setAttribute("aria-selected", "true");
      options[chosen].scrollIntoView({ block: "nearest" });
      input.setAttribute("aria-activedescendant", options[chosen].id);
    };
    input.addEventListener("input", () => suggest().catch(close));
    input.addEventListener("blur", close);
    input.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" && list.hidden) suggest().catch(close);
      if (list.hidden) return;
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        choose(chosen + (event.key === "ArrowDown" ? 1 : chosen < 0 ? 0 : -1));
      } else if ((event.key === "Enter" || event.key === "Tab") && chosen >= 0) {
        event.preventDefault();
        take(all("[role=option]", list)[chosen]);
      } else if (event.key === "Escape") {
        event.preventDefault();
        close();
      }
    });
  }
})();
