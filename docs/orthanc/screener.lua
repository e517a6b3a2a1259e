-- Orthanc 1.10 and later: MR series go to screener, and its answers mark the study that they are about.

PRIORITY = { HIGH = 1, MEDIUM = 2, REVIEW = 3, LOW = 4 }

-- The urgency of a report, anywhere below its content.
function FindUrgency(items)
  for _, item in ipairs(items or {}) do
    local name = item.ConceptNameCodeSequence
    if name and name[1].CodeValue == 'urgency' and name[1].CodingSchemeDesignator == '99SCREENER' then
      return item.ConceptCodeSequence[1].CodeValue
    end
    local found = FindUrgency(item.ContentSequence)
    if found then return found end
  end
end

function Mark(study, urgency)
  RestApiPut('/studies/' .. study .. '/metadata/screener-urgency', urgency, false)
  RestApiPut('/studies/' .. study .. '/metadata/screener-priority', tostring(PRIORITY[urgency]), false)
  -- Labels exist from 1.12 on; the list of Orthanc Explorer 2 shows them and filters by them.
  local version = ParseJson(RestApiGet('/system')).Version
  local major, minor = string.match(version, '^(%d+)%.(%d+)')
  if major and (tonumber(major) > 1 or tonumber(minor) >= 12) then
    for name, _ in pairs(PRIORITY) do
      if name ~= urgency then RestApiDelete('/studies/' .. study .. '/labels/screener-' .. name) end
    end
    RestApiPut('/studies/' .. study .. '/labels/screener-' .. urgency, '', false)
  end
end

function OnStableSeries(series, tags, metadata)
  if tags.Modality == 'MR' then
    -- A job, as SendToModality forgets what failed: a job can be submitted again.
    local job = { Resources = { series }, Synchronous = false }
    RestApiPost('/modalities/screener/store', DumpJson(job, true), false)
  elseif tags.Modality == 'SR' and tags.Manufacturer == 'screener' then
    local about = ParseJson(RestApiGet('/series/' .. series))
    for _, instance in ipairs(about.Instances) do
      local report = ParseJson(RestApiGet('/instances/' .. instance .. '/simplified-tags'))
      local urgency = FindUrgency(report.ContentSequence)
      if urgency and PRIORITY[urgency] then Mark(about.ParentStudy, urgency) end
    end
  end
end
