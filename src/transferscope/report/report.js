"use strict";
(() => {
  const box = document.getElementById("value");
  const hide = () => { box.hidden = true; };
  const show = (event) => {
    const mark = event.target.closest ? event.target.closest("[data-value]") : null;
    if (!mark) { hide(); return; }
    box.textContent = mark.getAttribute("data-value");
    box.hidden = false;
    const place = mark.getBoundingClientRect();
    const size = box.getBoundingClientRect();
    const room = document.documentElement.clientWidth - size.width - 8;
    const left = Math.max(8, Math.min(place.left + place.width / 2 - size.width / 2, room));
    const above = place.top - size.height - 8;
    box.style.left = left + "px";
    box.style.top = (above > 4 ? above : place.bottom + 8) + "px";
  };
  document.addEventListener("pointerover", show);
  document.addEventListener("pointerdown", show);
  document.addEventListener("scroll", hide, { passive: true });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  // On a narrow screen the contents are one line that stays in sight; on a wide one they stand beside the text.
  const contents = document.querySelector("nav details");
  const narrow = window.matchMedia("(max-width: 77.99rem)");
  const fold = () => { contents.open = !narrow.matches; };
  narrow.addEventListener("change", fold);
  contents.addEventListener("click", (event) => { if (event.target.closest("a")) fold(); });
  fold();
  // A link may lead into what is folded.
  const unfold = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let item = target; item; item = item.parentElement) if (item.tagName === "DETAILS") item.open = true;
  };
  window.addEventListener("hashchange", unfold);
  // Paper cannot be unfolded: everything but the long tables is opened before printing, and folded again after.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open]):not(.rows)")];
    opened.forEach((item) => { item.open = true; });
  });
  window.addEventListener("afterprint", () => { opened.forEach((item) => { item.open = false; }); });
})();
