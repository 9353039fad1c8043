// The predictor's memory of sums and the path through which everything reads and writes it: word, sum of the word and what a segment
// adds, absolute value against a limit. A drain adds a segment's words; in the last segments of a layer it also raises the maximum,
// stopping the path where a sum is larger. Between drains the scheduler reads: which sums are above a limit, and their signs.
`default_nettype none

module jb_predictor_sums #(
  parameter int OutLanes = 16,
  parameter int Active   = 8,    // lanes of a word that a segment adds to: half of them, or all
  parameter int TapWords = 4,    // words of a tap that it adds to
  parameter int Depth    = 2304
) (
  input  wire logic                     clk_i,
  input  wire logic                     rst_ni,
  input  wire logic                     start_i,          // a tile: maximum 0, nothing captured yet
  input  wire logic                     busy_i,           // the predictor runs
  // drain
  input  wire logic                     captured_i,       // pulse; what follows is steady until released_o
  input  wire logic [15:0]              tap_i,            // number of the first tap
  input  wire logic [1:0]               part_i,           // the tap's words from part_i * TapWords on
  input  wire logic                     upper_i,          // the upper half of the lanes
  input  wire logic [1:0]               columns_i,        // taps that exist, 1..3
  input  wire logic                     replace_i,        // sums start here
  input  wire logic                     check_i,          // sums are complete
  output      logic                     take_o,           // to jb_predictor_lanes: the segment's sums are drained from now on
  output      logic                     step_o,
  output      logic [3:0]               select_o,
  input  wire logic [Active*20-1:0]     added_i,          // what the segment adds to the word selected before this one
  output      logic                     released_o,       // pulse: the next segment may end
  output      logic                     drained_o,        // pulse: all is in the sums
  output      logic [35:0]              peak_o,
  // reads, while not busy; answer 6 cycles later
  input  wire logic                     read_valid_i,
  input  wire logic [$clog2(Depth)-1:0] read_address_i,
  input  wire logic [35:0]              read_limit_i,
  output      logic                     read_valid_o,
  output      logic [OutLanes-1:0]      read_above_o,     // |sum| > limit
  output      logic [OutLanes-1:0]      read_negative_o
);
  localparam int AddressBits = $clog2(Depth);

  // ---- drain: TapWords words of three taps
  localparam int Groups = OutLanes / Active;
  localparam int Part = $clog2(TapWords);
  localparam logic [3:0] LastWord = {2'd2, 2'(TapWords - 1)};

  logic draining_q, pending_q, begins, step;
  logic [3:0] word_q;
  logic [15:0] tap_q;
  logic [1:0] part_q, columns_q;
  logic upper_q, replace_q, drain_check_q;
  logic issue;
  logic [15:0] drain_tap, drain_address;

  assign issue         = draining_q;
  assign begins        = (captured_i || pending_q) && !draining_q && valid_q == '0;
  assign drain_tap     = tap_q + 16'(word_q[3:2]);
  assign drain_address = {drain_tap[12:0], 3'({1'b0, part_q} << Part) | {1'b0, word_q[1:0]}};

  always_ff @(posedge clk_i) begin
    if (!rst_ni || start_i) begin
      draining_q <= 1'b0;
      pending_q  <= 1'b0;
      word_q     <= '0;
    end else if (begins) begin
      draining_q <= 1'b1;
      pending_q  <= 1'b0;
      word_q     <= '0;
    end else begin
      if (captured_i) pending_q <= 1'b1;
      if (draining_q && step) begin
        word_q <= word_q[1:0] == 2'(TapWords - 1) ? {word_q[3:2] + 2'd1, 2'd0} : word_q + 4'd1;
        if (word_q == LastWord) draining_q <= 1'b0;
      end
    end
    if (begins) begin
      tap_q         <= tap_i;
      part_q        <= part_i;
      upper_q       <= upper_i;
      columns_q     <= columns_i;
      replace_q     <= replace_i;
      drain_check_q <= check_i;
    end
    released_o <= rst_ni && !start_i && begins;
  end

  // ---- stages 0..4; all move with step
  logic [4:0] valid_q, write_q, last_q, read_q, check_q;
  logic [2:0] zero_q;
  logic [AddressBits-1:0] address0_q, address1_q, address2_q, address3_q, address4_q;
  logic [3:0] word0_q, word1_q;
  logic [OutLanes*36-1:0] main_data, rest_data, main3_q, rest3_q, sum_q;  // one of main and rest is zero
  logic rest2, clear_main, clear_rest;
  logic [OutLanes*20-1:0] added3_q;
  logic [Groups-1:0] clear_added, group;  // lanes that nothing is added to; that are written

  assign take_o      = begins;
  assign step_o      = step;
  assign select_o    = word1_q;
  assign group       = Groups == 1 ? '1 : Groups'(upper_q ? 2 : 1);
  // Each of these resets many flip-flops, so that none needs a selector of its own.
  assign clear_main  = step && (zero_q[2] || rest2);
  assign clear_rest  = step && (zero_q[2] || !rest2);
  assign clear_added = {Groups{step}} & ~(group & {Groups{valid_q[2]}});

  always_ff @(posedge clk_i) begin
    if (!rst_ni || start_i) begin
      valid_q <= '0;
      read_q  <= '0;
    end else if (step) begin
      valid_q <= {valid_q[3:0], issue};
      read_q  <= {read_q[3:0], read_valid_i && !busy_i};
    end
    if (step) begin
      write_q    <= {write_q[3:0], issue && word_q[3:2] < columns_q};
      check_q    <= {check_q[3:0], issue && word_q[3:2] < columns_q && drain_check_q};
      last_q     <= {last_q[3:0], issue && word_q == LastWord};
      zero_q     <= {zero_q[1:0], replace_q && busy_i};
      address0_q <= busy_i ? AddressBits'(drain_address) : read_address_i;
      address1_q <= address0_q;
      address2_q <= address1_q;
      address3_q <= address2_q;
      address4_q <= address3_q;
      word0_q    <= word_q;
      word1_q    <= word0_q;
    end
  end

  for (genvar lane = 0; lane < OutLanes; lane++) begin : gen_lane
    localparam int Group = Groups == 1 ? 0 : lane / 4 % 2;
    localparam int Element = lane / 8 * 4 + lane % 4;
    logic [35:0] word;

    always_ff @(posedge clk_i) begin
      if (clear_main) main3_q[36*lane+:36] <= '0;
      else if (step) main3_q[36*lane+:36] <= main_data[36*lane+:36];
      if (clear_rest) rest3_q[36*lane+:36] <= '0;
      else if (step) rest3_q[36*lane+:36] <= rest_data[36*lane+:36];
      if (clear_added[Group]) added3_q[20*lane+:20] <= '0;
      else if (step) added3_q[20*lane+:20] <= added_i[20*Element+:20];
      if (step) begin
        sum_q[36*lane+:36] <= {{16{added3_q[20*lane+19]}}, added3_q[20*lane+:20]} + (main3_q[36*lane+:36] | rest3_q[36*lane+:36]);
      end
    end
    assign word = sum_q[36*lane+:36];

    // |sum| > limit: ~limit + (sum, or its inverse + 1) carries out
    logic [37:0] compare;
    assign compare     = {1'b0, inverse_q, 1'b1} + {1'b0, word ^ {36{word[35]}}, word[35]};
    assign above[lane] = compare[37];
    assign new_above[lane] = compare[37] && group[Group];
    always_ff @(posedge clk_i) begin
      above_q[lane]     <= above[lane];
      new_above_q[lane] <= new_above[lane];
      negative_q[lane]  <= word[35];
    end
    assign read_negative_o[lane] = negative_q[lane];

    logic unused_compare;
    assign unused_compare = ^compare[36:0];
  end

  // Words below Main in one memory, the others in a second one, which needs fewer selectors than what tools make of Depth words
  localparam int Main = 1 << ($clog2(Depth + 1) - 1);
  localparam int Rest = Depth - Main;
  localparam int MainBits = $clog2(Main);
  logic write;

  assign write = valid_q[4] && write_q[4] && step;

  for (genvar lane = 0; lane < OutLanes; lane++) begin : gen_memory
    jb_predictor_ram #(
      .Width(36),
      .Depth(Main)
    ) u_memory (
      .clk_i,
      .write_i        (write && group[Groups == 1 ? 0 : lane / 4 % 2] && (Rest == 0 || !address4_q[AddressBits-1])),
      .write_address_i(address4_q[MainBits-1:0]),
      .write_data_i   (sum_q[36*lane+:36]),
      .read_i         (step),
      .read_address_i (address1_q[MainBits-1:0]),
      .read_data_o    (main_data[36*lane+:36])
    );
  end

  if (Rest != 0) begin : gen_rest
    for (genvar pair = 0; pair < OutLanes / 2; pair++) begin : gen_pair
      jb_predictor_ram #(
        .Width(72),
        .Depth(Rest)
      ) u_memory (
        .clk_i,
        .write_i        (write && group[Groups == 1 ? 0 : pair / 2 % 2] && address4_q[AddressBits-1]),
        .write_address_i(address4_q[$clog2(Rest)-1:0]),
        .write_data_i   (sum_q[72*pair+:72]),
        .read_i         (step),
        .read_address_i (address1_q[$clog2(Rest)-1:0]),
        .read_data_o    (rest_data[72*pair+:72])
      );
    end
    assign rest2 = address2_q[AddressBits-1];
  end else begin : gen_no_rest
    assign rest2     = 1'b0;
    assign rest_data = '0;
  end

  always_ff @(posedge clk_i) begin
    drained_o <= rst_ni && !start_i && valid_q[4] && last_q[4] && step;
  end

  // ---- maximum: a word that raises it stays in stage 4 until no lane is above
  logic [35:0] inverse_q, peak_q, chosen, larger;
  logic [64*OutLanes-1:0] words;
  logic [$clog2(OutLanes)-1:0] choice;
  logic [OutLanes-1:0] above, above_q, new_above, new_above_q, negative_q;
  logic [Groups-1:0] above_any;
  logic looking, raise, read_q5;
  logic raise_q;

  assign looking      = valid_q[4] && check_q[4];
  assign raise        = |(above_any & group & {Groups{looking}});
  assign step         = !raise;
  assign peak_o       = peak_q;
  assign read_above_o = above_q;
  assign read_valid_o = read_q5;
  assign chosen       = 36'(words[{choice, 6'd0}+:64]);
  assign larger       = (chosen ^ {36{chosen[35]}}) + 36'(chosen[35]);

  // A level of logic less than by new_above: this stops the whole path.
  always_comb begin
    above_any = '0;
    for (int lane = 0; lane < OutLanes; lane++) begin
      above_any[lane / 4 % Groups] = above_any[lane / 4 % Groups] | above[lane];
    end
  end

  always_comb begin
    choice = '0;
    words  = '0;
    for (int lane = 0; lane < OutLanes; lane++) begin
      if (new_above_q[lane]) choice = $clog2(OutLanes)'(lane);
      words[64*lane+:36] = sum_q[36*lane+:36];
    end
  end

  always_ff @(posedge clk_i) begin
    read_q5 <= rst_ni && !start_i && read_q[4];
    // Found in one cycle, raised in the next, compared again in the one after that.
    if (!rst_ni || start_i) begin
      raise_q   <= 1'b0;
      peak_q    <= '0;
      inverse_q <= '1;
    end else begin
      raise_q <= raise && !raise_q;
      if (raise_q) peak_q <= larger;
      if (!busy_i) inverse_q <= ~read_limit_i;
      else if (raise_q) inverse_q <= ~larger;
    end
  end

  logic unused;
  assign unused = ^{drain_tap, drain_address};
endmodule

`default_nettype wire
