"""What pages run in the browser: one script call sees one moment, so nothing goes stale."""

WATCH = """
window.seenToasts = [];
window.seenErrors = [];
const noted = new WeakSet();
performance.setResourceTimingBufferSize(100000);
const say = (part) => part instanceof Error ? part.stack || String(part)
    : part instanceof Response ? part.status + " " + part.url : String(part);
const keep = (...parts) => window.seenErrors.push(parts.map(say).join(" "));
addEventListener("error", (event) => event.message && keep(event.message, event.filename));
addEventListener("unhandledrejection", (event) => keep(event.reason));
const complain = console.error;
console.error = (...parts) => { keep(...parts); complain.apply(console, parts); };
document.addEventListener("DOMContentLoaded", () => new MutationObserver((changes) => {
    window.changedAt = performance.now();
    for (const change of changes) for (const node of change.addedNodes) {
        if (node.nodeType !== 1) continue;
        const bodies = [...node.querySelectorAll(".toast-body")];
        if (node.matches(".toast-body")) bodies.push(node);
        for (const body of bodies.filter((body) => !noted.has(body))) {
            noted.add(body);
            window.seenToasts.push((body.querySelector(".toast-text") ?? body).innerText.trim());
        }
    }
}).observe(document.body, {childList: true, subtree: true}));
window.openRequests = new Set();
const completed = new Set();
const read = async (reader) => {
    const decoder = new TextDecoder();
    let rest = "";
    for (;;) {
        const {done, value} = await reader.read();
        if (done) return;
        const lines = (rest + decoder.decode(value, {stream: true})).split("\\n");
        rest = lines.pop();
        for (const line of lines.filter((line) => line.startsWith("data:"))) {
            const message = JSON.parse(line.slice(5));
            if (message.msg !== "process_completed") continue;
            completed.add(message.event_id);
            window.openRequests.delete(message.event_id);
        }
    }
};
const send = window.fetch;
window.fetch = async (resource, options) => {
    const address = String(resource.url ?? resource);
    // FaceFusion's terminal asks twice a second, without any value
    const isRequest = address.includes("/queue/join") && !options.body.includes('"data":[]');
    const asked = {};
    if (isRequest) window.openRequests.add(asked);
    try {
        const answer = await send(resource, options);
        if (isRequest && answer.ok) {
            const name = (await answer.clone().json()).event_id;
            if (!completed.has(name)) window.openRequests.add(name);
        }
        if (address.includes("/queue/data")) {
            read(answer.clone().body.getReader()).catch(() => window.openRequests.clear());
        }
        return answer;
    } finally {
        window.openRequests.delete(asked);
    }
};
"""
"""Runs before the page's own scripts: notes toasts, which go by themselves, errors, and which
requests FaceFusion has not answered."""

TOOLS = """
const isShown = (element) => Boolean(
    element?.getClientRects().length && element.checkVisibility({visibilityProperty: true})
);
const labelOf = (block) => block.querySelector(
    "[data-testid=block-info], [data-testid=block-label]"
)?.textContent.trim().toLowerCase();
const find = (name) => document.getElementById(name) || [
    ...document.querySelectorAll(".block, fieldset")
].find((block) => isShown(block) && labelOf(block) === name.toLowerCase());
const isFree = (part) => {
    part.scrollIntoView({block: "center"});
    const box = part.getBoundingClientRect();
    const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    return part === top || part.contains(top);
};
const click = (part) => {
    const canBe = isShown(part) && !part.disabled && isFree(part);
    if (canBe) part.click();
    return canBe;
};
const [name, value, on] = arguments;
const element = name ? find(name) : null;
"""
"""Put before the others: finds by elem_id, or by label where the host gives no id."""

CLICK = "return click(element);"
CLICK_TAB = """
return click([...document.querySelectorAll("button[role=tab]")].find(
    (tab) => isShown(tab) && tab.innerText.trim().toLowerCase() === name.toLowerCase()
));
"""
PART = "return element && (element.matches(value) ? element : element.querySelector(value));"
FIND_FIELD = """
const fields = element ? [...element.querySelectorAll("textarea, input:not([type=file])")] : [];
if (element?.matches("textarea, input")) fields.unshift(element);
const field = fields.find((field) => field.type !== "range" && isShown(field));
"""
FIELD = FIND_FIELD + "return field;"
READ_FIELD = FIND_FIELD + 'return field?.value ?? "";'
READ_OPTIONS = """
if (element.querySelector("input[role=listbox]").ariaExpanded !== "true") return null;
return [...element.querySelectorAll("[role=option]")].map((option) => option.ariaLabel);
"""
IS_OPEN = 'return element.querySelector("input[role=listbox]").ariaExpanded === "true";'
LEAVE = "document.activeElement?.blur();"
TICK_IN_GROUP = """
const label = [...element.querySelectorAll("label")].find(
    (label) => label.innerText.trim() === value
);
const box = label?.querySelector("input");
if (box && box.checked !== on && isFree(label)) box.click();
return Boolean(box) && box.checked === on;
"""
TICK = """
const box = element.querySelector("input[type=checkbox]");
if (box.checked !== on && isFree(box.closest("label"))) box.click();
return box.checked === on;
"""
CHOOSE = """
const option = [...element.querySelectorAll("[role=option]")].find(
    (option) => option.ariaLabel === value
);
if (!option || !isFree(option)) return false;
option.dispatchEvent(new MouseEvent("mousedown", {bubbles: true, cancelable: true}));
return true;
"""
"""Finds and clicks in one moment: the host puts its processors into another order at each tick."""
IS_SHOWN = "return isShown(element);"
IS_ENABLED = """
return isShown(element) && !element.disabled
    && !element.querySelector("input:disabled, textarea:disabled");
"""
READ_TEXT = 'return isShown(element) ? element.innerText.trim() : "";'
CHOSEN = """
if (!element) return [];
const tokens = [...element.querySelectorAll(".token")].map((token) => token.innerText.trim());
return [element.querySelector("input[role=listbox]")?.value, ...tokens];
"""
PICTURE = """
const image = element && (element.matches("img") ? element : element.querySelector("img"));
if (!image || !image.src || !isShown(image)) return null;
return fetch(image.src).then((answer) => answer.blob()).then((blob) => new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",")[1]);
    reader.readAsDataURL(blob);
}));
"""
UPLOADS = """
return performance.getEntriesByType("resource").filter(
    (entry) => entry.name.includes("/upload?") && entry.responseEnd
).length;
"""
REFUSED = """
return performance.getEntriesByType("resource").filter(
    (entry) => entry.name.startsWith(location.origin) && entry.responseStatus >= 400
).map((entry) => entry.responseStatus + " " + entry.name);
"""
IS_IDLE = """
return !window.openRequests.size
    && ![...document.querySelectorAll(".wrap.default, .wrap.generating")].some(
        (tracker) => !tracker.classList.contains("hide") && !tracker.querySelector(".error")
            && isShown(tracker)
    );
"""
"""Nothing waits for FaceFusion's answer, as far as requests tell and Gradio shows it."""
IS_DRAWN = """
return Boolean(document.querySelector(".gradio-container .block, .gradio-container button"))
    && document.readyState === "complete"
    && (performance.now() - window.changedAt > 200 || performance.now() > 10000);
"""
"""Gradio draws a page in many steps: it is drawn once nothing has been added for a while, or, where
something goes on all the time, after ten seconds."""
