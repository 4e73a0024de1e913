"use strict";
(function () {
  var rows = Array.prototype.slice.call(document.querySelectorAll("tbody#rows tr"));
  var count = document.getElementById("count");
  var order = { critical: 5, high: 4, medium: 3, low: 2, info: 1 };
  function value(id) { return document.getElementById(id).value; }
  function apply() {
    var least = order[value("f-sev")] || 0, verdict = value("f-verdict"), ns = value("f-ns"), control = value("f-control");
    var framework = value("f-framework"), text = value("f-text").toLowerCase(), shown = 0;
    rows.forEach(function (r) {
      var d = r.dataset;
      var ok = (order[d.sev] || 0) >= least &&
        (verdict === "*" || d.verdict === verdict) &&
        (ns === "*" || d.ns === ns.slice(1)) &&
        (control === "*" || d.control === control) &&
        (framework === "*" || d.frameworks.indexOf(" " + framework + " ") >= 0) &&
        (text === "" || r.textContent.toLowerCase().indexOf(text) >= 0);
      r.hidden = !ok;
      if (ok) { shown++; }
    });
    count.textContent = shown + " of " + rows.length;
  }
  ["f-sev", "f-verdict", "f-ns", "f-control", "f-framework", "f-text"].forEach(function (id) {
    document.getElementById(id).addEventListener("input", apply);
  });
  apply();
})();
