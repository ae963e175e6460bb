// An AttentionMap as a page of HTML: pointing at a token shows what it looked at. The page needs nothing but itself.
#pragma once

#include "support/attention_map.hpp"

#include <nlohmann/json.hpp>

#include <cmath>
#include <string>

namespace example {

inline std::string attention_page(const AttentionMap& map) {
  nlohmann::ordered_json panels = nlohmann::ordered_json::array();
  for (const AttentionMap::Panel& panel : map.panels()) {
    auto rows = nlohmann::ordered_json::array();
    for (const auto& weights : panel.weights) {
      auto row = nlohmann::ordered_json::array();
      for (const float weight : weights) row.push_back(std::lround(1000 * weight));
      rows.push_back(std::move(row));
    }
    panels.push_back({{"layer", panel.layer}, {"head", panel.head}, {"weights", std::move(rows)}});
  }
  std::string data = nlohmann::ordered_json{{"names", map.names()}, {"panels", std::move(panels)}}.dump();
  for (std::size_t at = 0; (at = data.find('<', at)) != data.npos;) data.replace(at, 1, "\\u003c");  // no end of the script

  static constexpr const char* before = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>What each token looks at</title>
<style>
body { margin: 2em auto; max-width: 60em; padding: 0 1em; font-family: sans-serif; color: #333; background: #fff; }
#text { font: 20px/1.7 monospace; margin: 1em 0; }
#text span { display: inline-block; min-width: 0.62em; padding: 0 1px; border: 1px solid #eee; border-radius: 3px; }
#text span { text-align: center; cursor: pointer; }
#text span.chosen { outline: 2px solid #d55e00; }
#seen { border-collapse: collapse; }
#seen td { padding: 0 1em 0 0; font: 15px/1.5 monospace; }
#seen td:nth-child(2) { text-align: right; }
.bar { display: inline-block; height: 0.8em; background: rgb(8, 48, 107); }
</style>
</head>
<body>
<h1>What each token looks at</h1>
<p><label>Show <select id="panel"></select></label>
Point at a token: the darker one before it is, the more it was looked at. A click keeps the token, another frees it.</p>
<div id="text"></div>
<p id="told"></p>
<table id="seen"></table>
<script>
"use strict";
const map = )";
  static constexpr const char* after = R"(;
const select = document.getElementById("panel"), text = document.getElementById("text");
const told = document.getElementById("told"), seen = document.getElementById("seen");
let chosen = map.names.length - 1, kept = false;

// weights of token t on all tokens: of one panel, or the mean of all
function weights(t) {
  const panels = select.value === "mean" ? map.panels : [map.panels[Number(select.value)]];
  const sum = new Array(map.names.length).fill(0);
  for (const panel of panels) {
    const row = panel.weights[t];
    row.forEach((w, i) => { sum[t - row.length + i] += w / 1000 / panels.length; });
  }
  return sum;
}
function show() {
  const w = weights(chosen);
  [...text.querySelectorAll("span")].forEach((span, i) => {
    const shade = Math.sqrt(w[i]);  // so that one of many can be seen, too
    span.style.background = `rgba(8, 48, 107, ${shade})`;
    span.style.color = shade > 0.5 ? "#fff" : "#333";
    span.className = i === chosen ? "chosen" : "";
    span.title = i < chosen ? w[i].toFixed(3) : "";
  });
  told.textContent = `Token ${chosen}, ${map.names[chosen]}, looked at:`;
  const best = w.map((weight, i) => [weight, i]).filter(([weight]) => weight > 0.0005).sort((a, b) => b[0] - a[0]);
  seen.replaceChildren(...best.slice(0, 12).map(([weight, i]) => {
    const row = document.createElement("tr");
    const bar = document.createElement("span");
    bar.className = "bar";
    bar.style.width = `${20 * weight}em`;
    for (const content of [map.names[i], `token ${i}`, weight.toFixed(3), bar]) {
      row.append(document.createElement("td"));
      row.lastChild.append(content);
    }
    return row;
  }));
}
if (map.panels.length > 1) select.add(new Option("the mean of all", "mean"));
map.panels.forEach((panel, i) => select.add(new Option(`layer ${panel.layer}, head ${panel.head}`, i)));
map.names.forEach((name, i) => {
  const span = document.createElement("span");
  span.textContent = name;
  span.addEventListener("mouseenter", () => { if (!kept) { chosen = i; show(); } });
  span.addEventListener("click", () => { kept = !(kept && chosen === i); chosen = i; show(); });
  text.append(span);
  if (name === "\u21b5") text.append(document.createElement("br"));
});
select.addEventListener("change", show);
show();
</script>
</body>
</html>
)";
  return before + data + after;
}

/// The page for a path that ends with .html, else the picture.
inline std::string attention_file(const AttentionMap& map, const std::string& path) {
  return path.ends_with(".html") ? attention_page(map) : map.svg();
}

}  // namespace example
