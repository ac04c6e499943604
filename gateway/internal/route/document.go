package route

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Document is the table as an OpenAPI 3.1 document; base is the scheme and host
// it is served at.
func (t Table) Document(base string) ([]byte, error) {
	paths := map[string]map[string]any{}
	tags, seen := []any{}, map[string]bool{}
	for _, r := range t {
		item := paths[r.Public()]
		if item == nil {
			item = map[string]any{}
			paths[r.Public()] = item
		}
		item[strings.ToLower(r.Method)] = r.operation()
		if !seen[r.Tag.EN] {
			seen[r.Tag.EN] = true
			tags = append(tags, map[string]any{"name": r.Tag.EN, "description": both(r.Tag)})
		}
	}
	return json.MarshalIndent(map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{
			"title": "溯证 网关 / Trailmark gateway", "version": "1",
			"description": "网关只被信任为“在线可用”：页面与接口给出的一切都可以用护照文件离线核验。\n\n" +
				"The gateway is trusted for availability only: whatever pages and interfaces say can be checked offline with the passport file. " +
				"Another method gives 405 with Allow; every error is an RFC 9457 problem, or a page for a client that asks for HTML.",
		},
		"servers":    []any{map[string]any{"url": base}},
		"tags":       tags,
		"paths":      paths,
		"components": map[string]any{"schemas": map[string]any{"Problem": Schema[Problem]()}},
	}, "", " ")
}

func both(w Words) string { return w.ZH + " / " + w.EN }

// ID names an operation: get_api_products_gtin.
func (r Route) ID() string {
	clean := strings.FieldsFunc(r.Public(), func(c rune) bool { return strings.ContainsRune("/{}.-", c) })
	return strings.Join(append([]string{strings.ToLower(r.Method)}, clean...), "_")
}

func (r Route) operation() map[string]any {
	op := map[string]any{"operationId": r.ID(), "tags": []string{r.Tag.EN}, "summary": both(r.Says)}
	var params []any
	for _, p := range r.Params {
		schema := map[string]any{"type": "string"}
		if p.Pattern != "" {
			schema["pattern"] = p.Pattern
		}
		param := map[string]any{"name": p.Name, "in": p.In, "required": p.In == "path", "description": both(p.Says), "schema": schema}
		if p.Example != "" {
			param["example"] = p.Example
		}
		params = append(params, param)
	}
	if params != nil {
		op["parameters"] = params
	}
	if r.Body != nil {
		content := map[string]any{}
		for _, kind := range r.Body.Types {
			media := map[string]any{}
			if r.Body.Schema != nil && kind == "application/json" {
				media["schema"] = r.Body.Schema
			}
			content[kind] = media
		}
		op["requestBody"] = map[string]any{"required": true, "description": both(r.Body.Says) + " (" + strconv.FormatInt(r.Body.Max, 10) + " bytes)", "content": content}
	}
	answers := map[string]any{}
	for _, a := range r.all() {
		key := strconv.Itoa(a.Status)
		one, _ := answers[key].(map[string]any)
		if one == nil {
			one = map[string]any{"description": both(a.Says)}
			answers[key] = one
		} else if d := one["description"].(string); !strings.Contains(d, both(a.Says)) {
			one["description"] = d + "; " + both(a.Says)
		}
		if a.Type != "" {
			content, _ := one["content"].(map[string]any)
			if content == nil {
				content = map[string]any{}
				one["content"] = content
			}
			media := map[string]any{}
			if a.Schema != nil {
				media["schema"] = a.Schema
			} else if a.Type == ProblemType {
				media["schema"] = map[string]any{"$ref": "#/components/schemas/Problem"}
			}
			content[a.Type] = media
		}
	}
	op["responses"] = answers
	return op
}

// all are the answers of a route, with those that Handler gives for it.
func (r Route) all() []Answer {
	out := slices.Clone(r.Answers)
	if r.Elsewhere {
		return out
	}
	add := func(status int, zh, en string) {
		if !slices.ContainsFunc(out, func(a Answer) bool { return a.Status == status }) {
			out = append(out, Refusal(status, zh, en))
		}
	}
	if len(r.types()) > 0 {
		add(406, "没有客户端接受的类型", "no type that the client takes")
	}
	add(413, "请求体过大，或不应有请求体", "too large a body, or any where none is taken")
	add(414, "地址过长", "too long an address")
	if r.Body != nil {
		add(415, "请求体的类型不对", "a body of another type")
	}
	return out
}

// Statuses are the answers that the document promises of a route.
func (r Route) Statuses() []int {
	set := map[int]bool{}
	for _, a := range r.all() {
		set[a.Status] = true
	}
	return slices.Sorted(maps.Keys(set))
}
